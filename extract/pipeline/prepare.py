"""Everything that a run settles before it reads its first video."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.padding import is_padded
from stepcli.cache.schema.spec import Producer, StoreSpec
from stepcli.cache.schema.views import is_flip
from stepcli.extract.backbones.base import Backbone, ClipBackbone
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.token_selection import TokenSelection, parse_tokens
from stepcli.extract.config import ExtractionRequest
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.datasets.registry import code_of, load_dataset
from stepcli.extract.decode.sampling import parse_sampling
from stepcli.extract.decode.torchcodec_video import load_torchcodec
from stepcli.extract.decode.views import ViewPlan, mirror_labels, require_crops, rows_of, with_views
from stepcli.extract.pipeline.backbone_runner import resolve_device
from stepcli.extract.pipeline.spec import make_producer, make_spec
from stepcli.extract.pipeline.stages import Resources
from stepcli.extract.sources.place import with_prefix
from stepcli.runtime import threads as cpu
from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.errors import UsageError

NO_MIRRORS = Path("none")


@dataclass(frozen=True)
class Prepared:
    """What a process needs to extract any of a run's clips; made anew in each process."""

    backbone: Backbone
    selection: TokenSelection
    spec: StoreSpec
    producer: Producer
    resources: Resources
    views: ViewPlan


def prepare(request: ExtractionRequest) -> Prepared:
    """Load the backbone and settle everything that a run's tokens depend on.

    Raises:
        StepcliError: anything that the user can mend.
    """
    sampling = parse_sampling(request.sampling)
    device = resolve_device(request.device)
    if request.decoder == "torchcodec":
        load_torchcodec()
    backbone = load_backbone(request.backbone)
    if request.preprocess == "fast":
        backbone.preprocess_fast()
    if isinstance(backbone, ClipBackbone):
        backbone.require_frames(request.frames)
        if is_padded(sampling.name):
            raise UsageError(
                f"--short pad: tokens of {backbone.facts.name} depend on the whole clip, padding "
                "included; leave --short out"
            )
    backbone.require_layers(request.layers)
    require_crops(request.views, backbone.facts.plan, backbone.facts.name)
    selection = parse_tokens(request.tokens, backbone.facts)
    spec = make_spec(
        backbone,
        selection,
        request.frames,
        sampling.name,
        request.dtype,
        layers=request.layers,
        views=request.views,
    )
    resources = _resources(request, device)
    producer = make_producer(backbone, resources, code_of(request.dataset))
    return Prepared(backbone, selection, spec, producer, resources, request.views)


def load_clips(request: ExtractionRequest) -> tuple[Dataset, tuple[Clip, ...], list[ClipRow]]:
    """The data set; those of its clips that the run is about, with their views; their rows.

    Raises:
        UsageError: pieces are missing, or flips cannot be labelled.
    """
    dataset, clips, mirror_of = load_list(request)
    return dataset, clips, [row for clip in clips for row in rows_of(clip, mirror_of)]


def load_list(
    request: ExtractionRequest,
) -> tuple[Dataset, tuple[Clip, ...], dict[str, str]]:
    """The same without the rows: the data set, the clips, and the class that a flip makes of each.

    Raises:
        UsageError: as of `load_clips`.
    """
    dataset = load_dataset(request.dataset, request.root, request.options)
    dataset = with_prefix(dataset, request.append)
    clips = spread(dataset.clips, request.limit)
    clips = with_views(clips, request.views, parse_sampling(request.sampling))
    mirror_of: dict[str, str] = {}
    if any(is_flip(view) for clip in clips for view in clip.views):
        mirror_of = mirror_labels(dataset.classes, _mirrors(request.mirrors), dataset.name)
    return dataset, clips, mirror_of


def spread(clips: Sequence[Clip], limit: int | None) -> tuple[Clip, ...]:
    """At most `limit` clips, evenly over the list: every split and class keeps its share."""
    if limit is None or limit >= len(clips):
        return tuple(clips)
    return tuple(clips[i * len(clips) // limit] for i in range(limit))


def _mirrors(file: Path | None) -> list[tuple[str, str]] | None:
    if file is None:
        return None
    if file == NO_MIRRORS:
        return []
    if not file.is_file():
        raise UsageError(f"--mirrors: there is no file {file}; expected a CSV, or the word none")
    return [(row["label"], row["mirror"]) for row in read_csv(file, ("label", "mirror"))]


def default_resources(device: torch.device) -> Resources:
    """How a run uses this machine unless told otherwise."""
    on_cpu = device.type == "cpu"
    return Resources(
        device=device,
        dtype=torch.float32,
        batch=16 if on_cpu else 256,
        passes=cpu.cores() if on_cpu else 2,
        # Decoders that are ahead of the backbone sleep, so a core for each costs nothing.
        workers=min(32, cpu.cores()),
        clip_seconds=120.0,
    )


def _resources(request: ExtractionRequest, device: torch.device) -> Resources:
    usual = default_resources(device)
    return replace(
        usual,
        dtype=getattr(torch, request.precision),
        batch=request.batch or usual.batch,
        workers=request.workers or usual.workers,
        clip_seconds=request.clip_seconds,
        decoder=request.decoder,
        compiled=request.compiled,
    )
