"""One `stepcli extract` from the words on the command line to the summary at the end."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.known_digests import save_digests
from stepcli.cache.maintenance.prune import take_out
from stepcli.cache.maintenance.summary import producer_differences
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.layout import layout_of
from stepcli.cache.storage.files import Place
from stepcli.cache.store.locate import is_store
from stepcli.cache.store.store import Store
from stepcli.extract.config import ExtractionRequest, PartLimits, default_store, unrooted_name
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.datasets.list_warnings import list_warnings
from stepcli.extract.datasets.roots import remember_roots
from stepcli.extract.decode.views import rows_of
from stepcli.extract.engines import ray_engine
from stepcli.extract.pipeline import stages as pipeline
from stepcli.extract.pipeline.backbone_runner import require_device_name
from stepcli.extract.pipeline.prepare import Prepared, load_list, prepare
from stepcli.extract.pipeline.progress import ExtractionProgress, ProgressListener
from stepcli.extract.pipeline.stages import StageSeconds
from stepcli.extract.pipeline.summary import (
    announce,
    as_json,
    gigabytes,
    past_end_note,
    report_stages,
    say,
    say_dry,
    summarise,
    way_back,
)
from stepcli.extract.sources.choose import choose_store
from stepcli.extract.sources.stock import (
    Stock,
    missing_note,
    not_listed_note,
    rows_without,
    take_stock,
)
from stepcli.extract.sources.todo import Redo, Todo, what_is_left
from stepcli.runtime.errors import UsageError
from stepcli.runtime.memory import without_collections
from stepcli.runtime.ray_cluster import ray_cluster

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
    with without_collections():
        dataset, clips, mirror_of = load_list(request)
    _say_notes(dataset.notes)
    warnings = list_warnings(clips)
    for line in warnings:
        say(f"warning: {line}")
    prepared = prepare(request if request.ray is None else _on_head(request))
    embed = _text_job(request) if request.text else None
    place = _place(request, dataset, clips, prepared)
    if request.dry_run and not is_store(place):
        say(f"dry run, nothing was written: {len(clips)} clips to extract; no store at {place} yet")
        return 0, {"store": str(place), "clips": len(clips), "left": len(clips)}
    store = create_store(place, prepared.spec, dataset=dataset.name, format=request.format)
    with without_collections():
        stock = take_stock(
            store,
            dataset,
            clips,
            prefix=request.append,
            share=slice(request.rank, None, request.world_size),
            changed=request.changed,
            full=request.check_sources,
        )
    _say_notes(stock.notes)
    share = f" (share {request.rank} of {request.world_size})" if request.world_size > 1 else ""
    redo = stock.redo
    todo = what_is_left(store, stock.share, retry=request.retry_failed, redo=redo)
    if request.dry_run:
        say_dry(store, todo, stock, share, prune=request.prune)
        return 0, as_json(store, todo, stock, None, share)
    remember_roots(clip.path for clip in clips)
    if stock.read:
        save_digests(store.path, f"{dataset.root} {share}", stock.read)
    set_aside = _change_tables(store, dataset, stock, mirror_of, prune=request.prune)
    _require_space(store, todo.left_count)
    seconds = None
    try:
        if todo.left:
            _say_notes([missing_note(todo.left, "" if request.ray is None else " on this machine")])
            seconds = _run(request, prepared, store, todo, redo)
    finally:
        if redo is not None:
            store.refresh()
            store.add_clips(row for row in set_aside if redo.is_done(store, row.id))
    if embed is not None:
        say(f"label embeddings of {request.text} are in {embed(store)}")
    todo = what_is_left(store, stock.share, redo=redo)
    summarise(store, todo, stock.share, share)
    summary = as_json(store, todo, stock, seconds, share) | {"warnings": warnings}
    return QUARANTINED if todo.quarantined else 0, summary


def _on_head(request: ExtractionRequest) -> ExtractionRequest:
    """The request as the driver of a cluster prepares it: its own machine needs no GPU."""
    require_device_name(request.device)
    return replace(request, device="cpu")


def _run(
    request: ExtractionRequest, prepared: Prepared, store: Store, todo: Todo, redo: Redo | None
) -> StageSeconds:
    """Extract what is left, here or on a cluster."""
    if redo is not None:
        limits = replace(request.limits, generation=redo.generation)
        request = replace(request, limits=limits)
    resources = prepared.resources if request.ray is None else None
    announce(store, todo, resources)
    for line in producer_differences(store, prepared.producer):
        if request.ray is None or not line.startswith("device:"):  # the workers' own is unknown
            say(f"note: clips of this store were made otherwise: {line}")
    with ExtractionProgress(todo.left_count, len(todo.done)) as progress:
        if request.ray is None:
            seconds = _extract(prepared, request.limits, todo.left, store, progress)
        else:
            with ray_cluster(request.ray.address) as ray:
                work = OnWorker(request, store.path)
                seconds = ray_engine.run(ray, todo.left, store, work, request.ray, progress, redo)
    report_stages(todo.left_count, seconds, resources)
    _say_notes([past_end_note(seconds.past_end)])
    store.refresh()
    return seconds


def _place(
    request: ExtractionRequest, dataset: Dataset, clips: Sequence[Clip], prepared: Prepared
) -> Path | str:
    if request.store:
        return request.store
    own = default_store(request, None if dataset.bundled else dataset.root)
    place, notes = choose_store(own, unrooted_name(request), dataset, clips, prepared.spec)
    _say_notes(notes)
    return place


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
    store: Place

    def __call__(self, clips: Iterator[Clip], progress: ProgressListener) -> StageSeconds:
        """Run the pipeline on the cores and the GPU that this worker was given."""
        prepared = prepare(self.request)
        return _extract(prepared, self.request.limits, clips, open_store(self.store), progress)


def _text_job(request: ExtractionRequest) -> Callable[[Store], Place]:
    """Load the text tower and the texts now, so that what is wrong is said before the run."""
    from stepcli.extract.datasets.unit_files import units_of
    from stepcli.extract.pipeline.text_embeddings import load_text_tower, read_templates, store_text

    tower = load_text_tower(request.text or "")
    templates = read_templates(request.prompts)
    units = units_of(request.dataset, request.units)
    return lambda store: store_text(store, tower, templates, units)


def _change_tables(
    store: Store, dataset: Dataset, stock: Stock, mirror_of: dict[str, str], *, prune: bool
) -> list[ClipRow]:
    """Bring the clips table up to the list; the lines of clips that are extracted again.

    Those are out of the table until their new tokens are stored.
    """
    set_aside: list[ClipRow] = []
    if stock.redo is not None:
        set_aside, _ = take_out(store, stock.redo.ids)
    rows = [row for clip in stock.clips for row in rows_of(clip, mirror_of)]
    known = {row.id for row in set_aside}
    if stock.redo is not None:
        set_aside += [row for row in rows if row.id in stock.redo.ids - known]
    differing = store.add_clips(rows_without(rows, stock.redo))
    if differing:
        say(
            f"note: {len(differing)} clips have another label, split or group in the store's "
            f"clips table than in {dataset.name} now (e.g. {differing[0].id}); the store's are kept"
        )
    store.add_classes(dataset.classes)
    if prune and stock.not_listed:
        _, file = take_out(store, stock.not_listed)
        # Of those that were never stored nothing is left.
        stock.not_listed = [clip for clip in stock.not_listed if clip in store]
        if file is not None:
            say(f"clips that the list does not name are out of training; {way_back(store, file)}")
    _say_notes([not_listed_note(stock.not_listed, {row.id for row in store.clips()})])
    return set_aside


def _say_notes(notes: Iterable[str]) -> None:
    for note in notes:
        if note:
            say(f"note: {note}")


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
