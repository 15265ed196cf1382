"""One `stepcli extract` from the words on the command line to the summary at the end."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepcli.cache import create_store, open_store
from stepcli.cache.care.summary import producer_differences
from stepcli.cache.clips import ClipRow
from stepcli.cache.durable import Place
from stepcli.cache.errors import UsageError
from stepcli.cache.formats.compression import require_compression
from stepcli.cache.formats.layout import layout_of
from stepcli.cache.store import Store
from stepcli.engines.ray_cluster import ray_cluster
from stepcli.extract import pipeline
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.datasets.list_warnings import list_warnings
from stepcli.extract.engines import ray_engine
from stepcli.extract.forward import require_device_name
from stepcli.extract.pipeline import StageSeconds
from stepcli.extract.prepare import Prepared, load_clips, prepare
from stepcli.extract.progress import Progress, ProgressListener
from stepcli.extract.request import ExtractionRequest, default_store
from stepcli.extract.sink import PartLimits
from stepcli.extract.summary import (
    announce,
    as_json,
    gigabytes,
    report_stages,
    say,
    summarise,
)

QUARANTINED = 3
"""Exit code of a run that had to put clips aside."""


def run_job(request: ExtractionRequest) -> tuple[int, dict[str, Any]]:
    """Extract what is left of a data set, and say how it went.

    Returns:
        0 when every clip of the data set is stored, 3 when some are quarantined; and the summary
        for scripts.

    Raises:
        StepcliError: anything that the user can mend, before the first video is read.
        KeyboardInterrupt: finished clips are committed.
    """
    # Before a store is made; below once more, for the format of one that is there.
    require_compression(request.format or "zarr", request.limits.compression)
    dataset, clips, rows = load_clips(request)
    warnings = list_warnings(clips)
    for line in (*(f"note: {n}" for n in dataset.notes), *(f"warning: {w}" for w in warnings)):
        say(line)
    prepared = prepare(request if request.ray is None else _on_head(request))
    embed = _text_job(request) if request.text else None
    store = create_store(
        request.store or default_store(request),
        prepared.spec,
        dataset=dataset.name,
        format=request.format,
    )
    require_compression(store.format, request.limits.compression)
    _note_clips(store, dataset, rows)
    # By place in the list, not by what is left: shares stay the same when a rank starts anew.
    clips = clips[request.rank :: request.world_size]
    todo = pipeline.what_is_left(store, clips, retry=request.retry_failed)
    _require_space(store, todo.left_count)
    seconds = None
    if todo.left:
        resources = prepared.resources if request.ray is None else None
        announce(store, todo, resources)
        for line in producer_differences(store, prepared.producer):
            if request.ray is None or not line.startswith("device:"):  # the workers' own is unknown
                say(f"note: clips of this store were made otherwise: {line}")
        with Progress(todo.left_count, len(todo.done)) as progress:
            if request.ray is None:
                seconds = _extract(prepared, request.limits, todo.left, store, progress)
            else:
                with ray_cluster(request.ray.address) as ray:
                    work = OnWorker(request, str(store.path))
                    seconds = ray_engine.run(ray, todo.left, store, work, request.ray, progress)
        report_stages(todo.left_count, seconds, resources)
        store.refresh()
    if embed is not None:
        say(f"label embeddings of {request.text} are in {embed(store)}")
    share = f" (share {request.rank} of {request.world_size})" if request.world_size > 1 else ""
    todo = pipeline.what_is_left(store, clips)
    summarise(store, todo, clips, share)
    summary = as_json(store, todo, clips, seconds, share) | {"warnings": warnings}
    return QUARANTINED if todo.quarantined else 0, summary


def _on_head(request: ExtractionRequest) -> ExtractionRequest:
    """The request as the driver of a cluster prepares it: its own machine needs no GPU."""
    require_device_name(request.device)
    return replace(request, device="cpu")


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


def _text_job(request: ExtractionRequest) -> Callable[[Store], Place]:
    """Load the text tower and the texts now, so that what is wrong is said before the run."""
    from stepcli.extract.datasets.unit_files import units_of
    from stepcli.extract.text import load_text_tower, read_templates, store_text

    tower = load_text_tower(request.text or "")
    templates = read_templates(request.prompts)
    units = units_of(request.dataset, request.units)
    return lambda store: store_text(store, tower, templates, units)


def _note_clips(store: Store, dataset: Dataset, rows: Sequence[ClipRow]) -> None:
    differing = store.add_clips(rows)
    if differing:
        say(
            f"note: {len(differing)} clips have another label, split or group in the store's "
            f"clips table than in {dataset.name} now (e.g. {differing[0].id}); the store's are kept"
        )
    store.add_classes(dataset.classes)


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
