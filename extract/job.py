"""One `stepcli extract` from the words on the command line to the summary at the end."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import av
import torch

from stepcli.cache import create_store
from stepcli.cache.errors import UsageError
from stepcli.cache.spec import Dtype, Producer, StoreSpec
from stepcli.cache.store import Store
from stepcli.extract import cpu, pipeline
from stepcli.extract.backbones.base import Backbone
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.video_models import ClipBackbone
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.datasets.registry import load_dataset
from stepcli.extract.forward import resolve_device
from stepcli.extract.pipeline import Resources, StageSeconds, Todo, grouped_reasons
from stepcli.extract.progress import Progress, duration
from stepcli.extract.sampling import parse_sampling
from stepcli.extract.sink import PartLimits
from stepcli.extract.text import load_text_tower, read_templates, read_texts, store_text
from stepcli.extract.tokens import TokenSelection, parse_tokens

QUARANTINED = 3
"""Exit code of a run that had to put clips aside."""

SHOWN_REASONS = 20


@dataclass(frozen=True, slots=True)
class ExtractionRequest:
    """What the user asked for; see `stepcli extract --help`."""

    dataset: str
    root: Path | None
    options: Mapping[str, str]
    store: Path | str | None
    """A folder, or the URL of an object store's prefix."""
    backbone: str
    frames: int
    tokens: str
    sampling: str
    dtype: Dtype
    format: Literal["zarr", "hdf5"] | None
    device: str
    precision: Literal["float32", "bfloat16", "float16"]
    batch: int | None
    workers: int | None
    clip_seconds: float
    limit: int | None
    retry_failed: bool
    preprocess: Literal["exact", "fast"] = "exact"
    text: str | None = None
    """Text tower whose embeddings of the labels are stored beside the tokens."""
    prompts: Path | None = None
    units: Path | None = None
    rank: int = 0
    """Which share of the data set this process takes, from 0."""
    world_size: int = 1
    """In how many shares the data set is divided; all write into one store."""
    limits: PartLimits = field(default_factory=PartLimits)


def run_job(request: ExtractionRequest) -> int:
    """Extract what is left of a data set, and say how it went.

    Returns:
        0 when every clip of the data set is stored, 3 when some are quarantined.

    Raises:
        StepcliError: anything that the user can mend, before the first video is read.
        KeyboardInterrupt: finished clips are committed.
    """
    dataset = load_dataset(request.dataset, request.root, request.options)
    for note in dataset.notes:
        _say(f"note: {note}")
    sampling = parse_sampling(request.sampling)
    device = resolve_device(request.device)
    backbone = load_backbone(request.backbone)
    if request.preprocess == "fast":
        backbone.preprocess_fast()
    if isinstance(backbone, ClipBackbone):
        backbone.require_frames(request.frames)
    tower = load_text_tower(request.text) if request.text else None
    templates = read_templates(request.prompts)
    units = read_texts(request.units, "--units") if request.units else []
    selection = parse_tokens(request.tokens, backbone.facts)
    spec = make_spec(backbone, selection, request.frames, sampling.name, request.dtype)
    clips = spread(dataset.clips, request.limit)
    store = create_store(
        request.store or default_store(request), spec, dataset=dataset.name, format=request.format
    )
    _note_clips(store, dataset, clips)
    # By place in the list, not by what is left: shares stay the same when a rank starts anew.
    clips = clips[request.rank :: request.world_size]
    todo = pipeline.what_is_left(store, clips)
    if request.retry_failed:
        again = {failure.id for failure in todo.quarantined}
        todo = replace(
            todo, quarantined=(), left=tuple(clip for clip in clips if clip.id in again) + todo.left
        )
    _require_space(store, len(todo.left))
    if todo.left:
        resources = _resources(request, device)
        _announce(store, todo, resources)
        with Progress(len(todo.left), len(todo.done)) as progress:
            seconds = pipeline.run(
                todo.left,
                store,
                backbone,
                selection,
                make_producer(backbone, resources),
                resources,
                request.limits,
                progress,
            )
        _report_stages(len(todo.left), seconds)
        store.refresh()
    if tower is not None:
        folder = store_text(store, tower, templates, units)
        _say(f"label embeddings of {request.text} are in {folder}")
    share = f" (share {request.rank} of {request.world_size})" if request.world_size > 1 else ""
    return _summarise(store, pipeline.what_is_left(store, clips), len(clips), share)


def make_spec(
    backbone: Backbone, selection: TokenSelection, frames: int, sampling: str, dtype: Dtype
) -> StoreSpec:
    """Everything that determines the tokens of this run."""
    facts = backbone.facts
    return StoreSpec(
        backbone=facts.name,
        weights_digest=backbone.weights_digest,
        segments=selection.segments,
        dim=facts.dim,
        frames=frames // facts.frames_per_token,
        sampling=sampling,
        token_scope=facts.token_scope,
        frames_per_token=facts.frames_per_token,
        preprocessing=facts.plan.to_spec(),
        dtype=dtype,
    )


def make_producer(backbone: Backbone, resources: Resources) -> Producer:
    """What is recorded beside the tokens, and never a reason to refuse a store."""
    device = resources.device
    name = f"{device}: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "cpu"
    packages = ("stepcli", "torch", "transformers", "av", "numpy", "pillow")
    versions = {package: version(package) for package in packages}
    versions["libavcodec"] = ".".join(map(str, av.library_versions["libavcodec"]))
    versions["python"] = ".".join(map(str, sys.version_info[:3]))
    return Producer(
        source=backbone.facts.source,
        device=name,
        numerics=str(resources.dtype).removeprefix("torch."),
        versions=versions,
    )


def spread(clips: Sequence[Clip], limit: int | None) -> tuple[Clip, ...]:
    """At most `limit` clips, evenly over the list: every split and class keeps its share."""
    if limit is None or limit >= len(clips):
        return tuple(clips)
    return tuple(clips[i * len(clips) // limit] for i in range(limit))


def default_store(request: ExtractionRequest) -> Path:
    """Where the tokens go when the user does not say."""
    backbone = request.backbone
    if backbone.startswith("hf:"):
        backbone = "hf-" + backbone.removeprefix("hf:").rstrip("/").rpartition("/")[2]
    tokens = request.tokens.replace(",", "+")
    name = f"{request.dataset}-{backbone}-{request.frames}f-{tokens}"
    return Path(os.environ.get("STEPCLI_STORES", "stores")) / name


def _note_clips(store: Store, dataset: Dataset, clips: Sequence[Clip]) -> None:
    differing = store.add_clips([clip.row() for clip in clips])
    if differing:
        _say(
            f"note: {len(differing)} clips have another label, split or group in the store's "
            f"clips table than in {dataset.name} now (e.g. {differing[0].id}); the store's are kept"
        )
    if not store.classes():
        store.replace_classes(dataset.classes)


def _require_space(store: Store, clips: int) -> None:
    if not isinstance(store.path, Path):
        return  # an object store has no free space to ask for
    item = 2 if store.spec.dtype == "float16" else 4
    values = 1
    for side in store.spec.clip_shape:
        values *= side
    needed, free = clips * values * item, shutil.disk_usage(store.path).free
    if needed > free:
        raise UsageError(
            f"{clips} clips need {gigabytes(needed)} and {store.path} has {gigabytes(free)} free; "
            "ask for fewer tokens (--tokens grid2 or cls), or give a --store elsewhere"
        )


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
    )


def _announce(store: Store, todo: Todo, resources: Resources) -> None:
    spec = store.spec
    steps, tokens, dim = spec.clip_shape[-3:]
    _say(
        f"{len(todo.left)} clips -> {store.path} ({store.format}); {spec.backbone} on "
        f"{resources.device}; a clip: {steps} frames x {tokens} tokens x {dim} {spec.dtype}"
    )


def _report_stages(clips: int, seconds: StageSeconds) -> None:
    _say(
        f"{clips} clips in {duration(seconds.total)}, {clips / seconds.total:.1f} clips/s; "
        f"waiting for the backbone {seconds.waiting_for_backbone:.1f} s, for decoders "
        f"{seconds.waiting_for_decoders:.1f} s, for the disk "
        f"{seconds.waiting_for_writer:.1f} s; the limit was {seconds.limit}"
    )


def _summarise(store: Store, todo: Todo, clips: int, share: str) -> int:
    _say(
        f"{clips} clips in all{share}: {len(todo.done)} done, {len(todo.quarantined)} quarantined, "
        f"{len(todo.left)} left; store {store.path}"
    )
    reasons = grouped_reasons(todo.quarantined)
    for reason, count, example in reasons[:SHOWN_REASONS]:
        _say(f"  {count} x {example.error}: {reason} (e.g. {example.path!r})")
    if len(reasons) > SHOWN_REASONS:
        _say(f"  and {len(reasons) - SHOWN_REASONS} reasons more")
    if todo.quarantined:
        _say(
            f"each with its reason in {store.path / 'failures'}; mend the files and run the same "
            "command with --retry-failed"
        )
        return QUARANTINED
    return 0


def gigabytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 (this is the command's own voice)
