"""`stepcli plan`: what a store would cost in bytes and hours, before a byte is written."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from stepcli.cache import create_store
from stepcli.cache.errors import UsageError
from stepcli.extract import pipeline
from stepcli.extract.backbones.base import Backbone, ClipBackbone
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.datasets.registry import load_dataset
from stepcli.extract.forward import resolve_device
from stepcli.extract.job import default_resources, spread
from stepcli.extract.progress import Progress, duration
from stepcli.extract.sink import PartLimits
from stepcli.extract.spec import make_producer, make_spec
from stepcli.extract.tokens import parse_tokens

ITEM_BYTES = {"float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What to plan for."""

    dataset: str
    root: Path | None
    options: Mapping[str, str]
    backbone: str
    frames: int
    stores: Path
    """Where the store would lie: its free space counts."""
    device: str
    probe_clips: int


@dataclass(frozen=True, slots=True)
class LayoutCost:
    """One choice of tokens and dtype."""

    tokens: str
    dtype: str
    clip_bytes: int
    total_bytes: int
    fits: bool
    break_even: float
    """Bytes a second: a disk that reads slower than this is slower than the backbone itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `stepcli plan` prints."""

    clips: int
    clip_seconds: float
    """Measured on this machine: seconds a clip, all stages side by side."""
    free_bytes: int
    layouts: tuple[LayoutCost, ...]

    @property
    def hours(self) -> float:
        """Of one extraction; the layout hardly matters to it."""
        return self.clips * self.clip_seconds / 3600

    @property
    def recommended(self) -> LayoutCost | None:
        """The finest grid in float16 that takes at most half of the free space."""
        modest = [
            cost
            for cost in self.layouts
            if cost.dtype == "float16"
            and cost.tokens.startswith("grid")
            and 2 * cost.total_bytes <= self.free_bytes
        ]
        return modest[-1] if modest else None


def make_plan(request: PlanRequest) -> Plan:
    """Extract a few clips into a temporary store, and multiply.

    Raises:
        StepcliError: as `stepcli extract` would; also where not one of the clips can be read.
    """
    dataset = load_dataset(request.dataset, request.root, request.options)
    device = resolve_device(request.device)
    backbone = load_backbone(request.backbone)
    if isinstance(backbone, ClipBackbone):
        backbone.require_frames(request.frames)
    sample = spread(dataset.clips, request.probe_clips)
    seconds = _seconds_a_clip(sample, backbone, request.frames, device)
    free = shutil.disk_usage(_existing(request.stores)).free
    costs = []
    for tokens in layouts_of(backbone):
        for dtype in ("float16", "float32"):
            selection = parse_tokens(tokens, backbone.facts)
            spec = make_spec(backbone, selection, request.frames, "uniform", dtype)
            size = ITEM_BYTES[dtype] * spec.frames * spec.tokens_per_frame * spec.dim
            total = size * len(dataset.clips)
            costs.append(LayoutCost(tokens, dtype, size, total, total < free, size / seconds))
    return Plan(len(dataset.clips), seconds, free, tuple(costs))


def layouts_of(backbone: Backbone) -> list[str]:
    """The layouts worth comparing, from coarse to fine."""
    finest = min(backbone.facts.grid)
    grids = [f"grid{side}" for side in (1, 2, 4, 8) if side <= finest]
    return [*(["cls"] if "cls" in backbone.facts.prefix else []), *grids, "full"]


def _seconds_a_clip(
    clips: tuple[Clip, ...], backbone: Backbone, frames: int, device: torch.device
) -> float:
    resources = default_resources(device)
    selection = parse_tokens("grid1", backbone.facts)
    spec = make_spec(backbone, selection, frames, "uniform", "float32")
    with tempfile.TemporaryDirectory() as place, Progress(len(clips), 0) as progress:
        store = create_store(Path(place) / "probe", spec, dataset="plan")
        producer = make_producer(backbone, resources)
        spent = pipeline.run(
            clips, store, backbone, selection, producer, resources, PartLimits(), progress
        )
        store.refresh()
        done = len(store)
        if not done:
            reasons = {failure.message for failure in store.quarantined().values()}
            raise UsageError(
                f"none of {len(clips)} clips tried could be read ({'; '.join(sorted(reasons))}); "
                "mend the data set first"
            )
    # Side by side, the slowest stage sets the pace; the decoders' start is paid once.
    decoding = spent.decoding / min(resources.workers, len(clips))
    return max(decoding, spent.waiting_for_backbone, spent.waiting_for_writer) / done


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def describe(plan: Plan) -> str:
    """The plan as text for people."""
    lines = [
        f"{plan.clips} clips, {plan.clip_seconds * 1000:.0f} ms a clip on this machine: "
        f"{duration(plan.hours * 3600)}; {plan.free_bytes / 1e9:.1f} GB free",
        "",
        f"{'tokens':8} {'dtype':8} {'a clip':>10} {'in all':>11} {'fits':>5} {'break-even':>12}",
    ]
    lines += [
        f"{cost.tokens:8} {cost.dtype:8} {cost.clip_bytes / 1e6:7.2f} MB "
        f"{cost.total_bytes / 1e9:8.1f} GB {'yes' if cost.fits else 'NO':>5} "
        f"{cost.break_even / 1e6:7.0f} MB/s"
        for cost in plan.layouts
    ]
    lines += ["", "break-even: read slower than that, and recomputing the tokens would be as fast"]
    best = plan.recommended
    lines.append(
        f"recommended: --tokens {best.tokens} --dtype {best.dtype}"
        if best
        else "recommended: nothing fits with room to spare; free space, or store cls only"
    )
    return "\n".join(lines)
