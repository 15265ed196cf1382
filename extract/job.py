"""One `stepcli extract` from the words on the command line to the summary at the end."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from stepcli.cache import create_store, open_store
from stepcli.cache.clips import ClipRow
from stepcli.cache.errors import UsageError
from stepcli.cache.formats.layout import layout_of
from stepcli.cache.padding import is_padded
from stepcli.cache.spec import Dtype, Producer, StoreSpec
from stepcli.cache.store import Store
from stepcli.cache.views import is_flip
from stepcli.engines.ray_cluster import ray_cluster
from stepcli.extract import cpu, pipeline
from stepcli.extract.backbones.base import Backbone, ClipBackbone
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.datasets.files import read_table
from stepcli.extract.datasets.registry import load_dataset
from stepcli.extract.decode.sampling import parse_sampling
from stepcli.extract.decode.torchcodec_video import load_torchcodec
from stepcli.extract.decode.views import ViewPlan, mirror_labels, require_crops, rows_of, with_views
from stepcli.extract.decode.worker import Decoder
from stepcli.extract.engines import ray_engine
from stepcli.extract.engines.ray_engine import RayOptions
from stepcli.extract.forward import resolve_device
from stepcli.extract.pipeline import Resources, StageSeconds
from stepcli.extract.progress import Progress, ProgressListener
from stepcli.extract.sink import PartLimits
from stepcli.extract.spec import make_producer, make_spec
from stepcli.extract.summary import (
    announce,
    as_json,
    gigabytes,
    report_stages,
    say,
    summarise,
)
from stepcli.extract.tokens import TokenSelection, parse_tokens

QUARANTINED = 3
"""Exit code of a run that had to put clips aside."""
NO_MIRRORS = Path("none")


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
    layers: tuple[int, ...] = (-1,)
    views: ViewPlan = field(default_factory=ViewPlan)
    mirrors: Path | None = None
    """Pairs of classes that a flip swaps; a file called "none": it swaps none."""
    decoder: Decoder = "pyav"
    compiled: bool = False
    text: str | None = None
    """Text tower whose embeddings of the labels are stored beside the tokens."""
    prompts: Path | None = None
    units: Path | None = None
    rank: int = 0
    """Which share of the data set this process takes, from 0."""
    world_size: int = 1
    """In how many shares the data set is divided; all write into one store."""
    limits: PartLimits = field(default_factory=PartLimits)
    ray: RayOptions | None = None
    """Run on a Ray cluster instead of in this process."""


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
    producer = make_producer(backbone, resources)
    return Prepared(backbone, selection, spec, producer, resources, request.views)


def load_clips(request: ExtractionRequest) -> tuple[Dataset, tuple[Clip, ...], list[ClipRow]]:
    """The data set; those of its clips that the run is about, with their views; their rows.

    Raises:
        UsageError: pieces are missing, or flips cannot be labelled.
    """
    dataset = load_dataset(request.dataset, request.root, request.options)
    clips = spread(dataset.clips, request.limit)
    clips = with_views(clips, request.views, parse_sampling(request.sampling))
    mirror_of: dict[str, str] = {}
    if any(is_flip(view) for clip in clips for view in clip.views):
        mirror_of = mirror_labels(dataset.classes, _mirrors(request.mirrors), dataset.name)
    return dataset, clips, [row for clip in clips for row in rows_of(clip, mirror_of)]


def run_job(request: ExtractionRequest) -> tuple[int, dict[str, Any]]:
    """Extract what is left of a data set, and say how it went.

    Returns:
        0 when every clip of the data set is stored, 3 when some are quarantined; and the summary
        for scripts.

    Raises:
        StepcliError: anything that the user can mend, before the first video is read.
        KeyboardInterrupt: finished clips are committed.
    """
    dataset, clips, rows = load_clips(request)
    for note in dataset.notes:
        say(f"note: {note}")
    prepared = prepare(request)
    embed = _text_job(request) if request.text else None
    store = create_store(
        request.store or default_store(request),
        prepared.spec,
        dataset=dataset.name,
        format=request.format,
    )
    _note_clips(store, dataset, rows)
    # By place in the list, not by what is left: shares stay the same when a rank starts anew.
    clips = clips[request.rank :: request.world_size]
    todo = pipeline.what_is_left(store, clips, retry=request.retry_failed)
    _require_space(store, todo.left_count)
    seconds = None
    if todo.left:
        announce(store, todo, prepared.resources)
        with Progress(todo.left_count, len(todo.done)) as progress:
            if request.ray is None:
                seconds = _extract(prepared, request.limits, todo.left, store, progress)
            else:
                with ray_cluster(request.ray.address) as ray:
                    work = OnWorker(request, str(store.path))
                    seconds = ray_engine.run(ray, todo.left, store, work, request.ray, progress)
        report_stages(todo.left_count, seconds, prepared.resources)
        store.refresh()
    if embed is not None:
        say(f"label embeddings of {request.text} are in {embed(store)}")
    share = f" (share {request.rank} of {request.world_size})" if request.world_size > 1 else ""
    todo = pipeline.what_is_left(store, clips)
    summarise(store, todo, clips, share)
    return QUARANTINED if todo.quarantined else 0, as_json(store, todo, clips, seconds, share)


def _extract(
    prepared: Prepared,
    limits: PartLimits,
    clips: Iterable[Clip],
    store: Store,
    progress: ProgressListener,
) -> StageSeconds:
    return pipeline.run(
        clips,
        store,
        prepared.backbone,
        prepared.selection,
        prepared.producer,
        prepared.resources,
        limits,
        progress,
        prepared.views,
    )


@dataclass(frozen=True, slots=True)
class OnWorker:
    """One worker's part of a run on a cluster; plain data, because it travels there."""

    request: ExtractionRequest
    store: str

    def __call__(self, clips: Iterator[Clip], progress: ProgressListener) -> StageSeconds:
        """Run the pipeline on the cores and the GPU that this worker was given."""
        prepared = prepare(self.request)
        return _extract(prepared, self.request.limits, clips, open_store(self.store), progress)


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


def _text_job(request: ExtractionRequest) -> Callable[[Store], Path]:
    """Load the text tower and the texts now, so that what is wrong is said before the run."""
    from stepcli.extract.datasets.unit_files import units_of
    from stepcli.extract.text import load_text_tower, read_templates, store_text

    tower = load_text_tower(request.text or "")
    templates = read_templates(request.prompts)
    units = units_of(request.dataset, request.units)
    return lambda store: store_text(store, tower, templates, units)


def _mirrors(file: Path | None) -> list[tuple[str, str]] | None:
    if file is None:
        return None
    if file == NO_MIRRORS:
        return []
    if not file.is_file():
        raise UsageError(f"--mirrors: there is no file {file}; expected a CSV, or the word none")
    return [(row["label"], row["mirror"]) for row in read_table(file, "label", "mirror")]


def _note_clips(store: Store, dataset: Dataset, rows: Sequence[ClipRow]) -> None:
    differing = store.add_clips(rows)
    if differing:
        say(
            f"note: {len(differing)} clips have another label, split or group in the store's "
            f"clips table than in {dataset.name} now (e.g. {differing[0].id}); the store's are kept"
        )
    if not store.classes():
        store.replace_classes(dataset.classes)


def _require_space(store: Store, count: int) -> None:
    if not isinstance(store.path, Path):
        return  # an object store has no free space to ask for
    needed = count * sum(array.clip_bytes for array in layout_of(store.spec).arrays)
    free = shutil.disk_usage(store.path).free
    if needed > free:
        raise UsageError(
            f"{count} clips need {gigabytes(needed)} and {store.path} has {gigabytes(free)} free; "
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
        decoder=request.decoder,
        compiled=request.compiled,
    )
