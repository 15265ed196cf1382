"""One `stepcli extract` from its settings to the summary at the end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.known_digests import save_digests
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.locate import is_store
from stepcli.cache.store.store import Store
from stepcli.cache.store.summary import producer_differences
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.datasets.list_warnings import list_warnings
from stepcli.extract.datasets.roots import remember_roots
from stepcli.extract.decode.views import rows_of
from stepcli.extract.engines import ray_engine
from stepcli.extract.engines.ready import (
    ReadyRun,
    amount_of,
    check_space,
    make_ready,
    needs_of_new,
)
from stepcli.extract.pipeline.clip_list import ClipList, load_list
from stepcli.extract.pipeline.clips_table import add_rows, current_table
from stepcli.extract.pipeline.prepare import Prepared, prepare, settled
from stepcli.extract.pipeline.progress import ExtractionProgress, ProgressListener
from stepcli.extract.pipeline.segments import add_listed_segments
from stepcli.extract.pipeline.space import Need
from stepcli.extract.pipeline.stages import StageSeconds, extract_clips
from stepcli.extract.pipeline.summary import (
    RunSummary,
    announce,
    as_json,
    past_end_note,
    report_stages,
    say,
    say_dry,
    say_notes,
    summarise,
    to_extract,
)
from stepcli.extract.pipeline.windows import extract_windows
from stepcli.extract.sources.stock import Stock, Todo, missing_note, take_stock, what_is_left
from stepcli.extract.sources.windows import with_windows
from stepcli.runtime.memory import without_collections
from stepcli.runtime.ray_cluster import ray_cluster
from stepcli.runtime.settings import options_of

QUARANTINED = 3
"""Exit code of a run that quarantined clips."""


def run_extract(config: ExtractConfig, listed: ClipList | None = None) -> tuple[int, RunSummary]:
    """Extract what is left of a data set, and say how it went.

    Args:
        config: Of the run.
        listed: Its clips; None: they are listed here.

    Returns:
        0 when every clip of the data set is stored, 3 when some are quarantined; and the summary
        for scripts.

    Raises:
        StepcliError: anything that the user can fix, before the first video is read.
        KeyboardInterrupt: finished clips are committed.
    """
    if listed is None:
        with without_collections():
            listed = load_list(config)
    warnings = say_about(listed, config)
    ready = make_ready(config, listed)
    check_space(needs_of_new([ready], listed), warnings)
    run = open_run(ready, listed)
    if not isinstance(run, OpenRun):
        return 0, run
    seconds = None
    with run.table(listed):
        check_space([run.need], warnings)
        if run.todo.left:
            seconds = _extract_left(run)
    if config.windows is not None:
        _add_windows(run, listed.dataset)
    return finish(run, seconds, warnings)


def say_about(listed: ClipList, config: ExtractConfig) -> list[str]:
    """Print what is odd about the list of clips; return the warnings."""
    say_notes(listed.dataset.notes)
    # Recordings that are listed by segments have no label of their own.
    labelled = [clip for clip in listed.clips if clip.label]
    warnings = list_warnings(
        labelled if config.windows else listed.clips, several=listed.dataset.several
    )
    for line in warnings:
        say(f"warning: {line}")
    return warnings


@dataclass(slots=True)
class OpenRun:
    """A run on an open store, before its first video is read."""

    config: ExtractConfig
    prepared: Prepared
    store: Store
    stock: Stock
    todo: Todo
    share: str
    """Which of several shares, in words."""
    embed: Callable[[Store], StoragePath] | None
    """Makes the embeddings of the labels, where they were asked for."""
    mirror_of: dict[str, str]
    need: Need
    """Of what is left."""
    windows_of: Mapping[str, int]
    """Id of each recording that is left -> windows expected of it; {} of a run on clips."""

    def table(self, listed: ClipList) -> AbstractContextManager[None]:
        """The store's table as the list has it, once the context ends well."""
        return current_table(
            self.store, listed.dataset, self.stock, self.mirror_of, prune=self.config.prune
        )


def open_run(ready: ReadyRun, listed: ClipList) -> OpenRun | RunSummary:
    """Open a run's store, or make it, and find out what is left.

    Returns:
        The run; of a dry run its summary.
    """
    dataset, clips = listed.dataset, listed.clips
    config, prepared, embed, place = ready.config, ready.prepared, ready.embed, ready.place
    if config.dry_run and not is_store(place):
        need = Need(place, prepared.spec, amount_of(ready, clips)[0])
        say_notes([ready.counts.note if ready.counts else ""])
        say(
            f"dry run, nothing was written; to extract: {to_extract(need, clips)}; no store at "
            f"{place} yet"
        )
        counts: RunSummary = {"store": str(place), "clips": len(clips), "left": need.amount.ids}
        counts["left_bytes"], counts["config"] = need.size, options_of(config)
        return counts
    store = create_store(place, prepared.spec, dataset=dataset.name, format=config.format)
    rank, ranks = config.share
    if config.windows is not None:
        clips = with_windows(store, clips)
    with without_collections():
        stock = take_stock(
            store,
            dataset,
            clips,
            prefix=config.append,
            share=slice(rank, None, ranks),
            changed=config.changed,
            full=config.check_sources,
        )
    say_notes(stock.notes)
    share = f" (share {rank} of {ranks})" if ranks > 1 else ""
    if config.windows is not None:  # again: recordings that moved go by their stored ids
        stock.clips, stock.share = (with_windows(store, s) for s in (stock.clips, stock.share))
    todo = what_is_left(store, stock.share, retry=config.retry_failed, redo=stock.redo)
    amount, windows_of = amount_of(ready, todo.left, stock.share)
    need = Need(store.path, store.spec, amount)
    say_notes([ready.counts.note if ready.counts else ""])
    if config.dry_run:
        say_dry(store, todo, stock, share, need, prune=config.prune)
        planned = as_json(store, todo, stock, None, share, need)
        planned["config"] = options_of(config)
        return planned
    remember_roots(clip.path for clip in clips)
    if stock.read:
        save_digests(store.path, f"{dataset.root} {share}", stock.read)
    return OpenRun(
        config, prepared, store, stock, todo, share, embed, listed.mirror_of, need, windows_of
    )


def _add_windows(run: OpenRun, dataset: Dataset) -> None:
    run.stock.share = with_windows(run.store, run.stock.share)
    rows = [row for clip in run.stock.share for row in rows_of(clip, {})]
    add_rows(run.store, dataset, rows)
    add_listed_segments(run.store, dataset, run.stock.share)


def finish(
    run: OpenRun, seconds: StageSeconds | None, warnings: list[str]
) -> tuple[int, RunSummary]:
    """Exit code and summary of a run whose clips are stored or quarantined."""
    store = run.store
    if run.embed is not None:
        say(f"label embeddings of {run.config.text} are in {run.embed(store)}")
    todo = what_is_left(store, run.stock.share, redo=run.stock.redo)
    summarise(store, todo, run.stock.share, run.share)
    summary = as_json(store, todo, run.stock, seconds, run.share)
    summary["warnings"], summary["config"] = warnings, options_of(run.config)
    return QUARANTINED if todo.quarantined else 0, summary


def announced(run: OpenRun) -> Prepared:
    """Print what is about to be done; the run with its arithmetic chosen."""
    store, prepared, local = run.store, run.prepared, run.config.engine == "local"
    say_notes([missing_note(run.todo.left, "" if local else " on this machine")])
    announce(store, run.need, run.todo.left, prepared.resources if local else None)
    if local:
        prepared, precision = settled(prepared, store)
        say(f"precision: {precision}")
    for line in producer_differences(store, prepared.producer):
        # What the workers have is unknown here.
        if local or not line.startswith(("device:", "numerics:")):
            say(f"note: clips of this store were made otherwise: {line}")
    return prepared


def _extract_left(run: OpenRun) -> StageSeconds:
    """Extract what is left, here or on a cluster."""
    config, store, todo, redo = run.config, run.store, run.todo, run.stock.redo
    local = config.engine == "local"
    prepared = announced(run)
    resources = prepared.resources if local else None
    generation = 0 if redo is None else redo.generation
    total = sum(run.windows_of.values()) if config.windows is not None else todo.left_count
    with ExtractionProgress(total, len(todo.done), run.need.amount) as progress:
        if config.windows is not None:
            seconds = extract_windows(todo.left, store, prepared, progress, run.windows_of)
        elif local:
            seconds = extract_clips(todo.left, store, prepared, progress, generation)
        else:
            with ray_cluster(config.address) as ray:
                work = OnWorker(config, store.path, generation)
                seconds = ray_engine.run(ray, todo.left, store, work, config, progress, redo)
        done = progress.done
    report_stages(done, seconds, resources)
    say_notes([past_end_note(seconds.past_end)])
    store.refresh()
    return seconds


@dataclass(frozen=True, slots=True)
class OnWorker:
    """One worker's part of a run on a cluster; plain data, because it travels there."""

    config: ExtractConfig
    store: StoragePath
    generation: int

    def __call__(self, clips: Iterator[Clip], progress: ProgressListener) -> StageSeconds:
        """Run the pipeline on the cores and the GPU that this worker was given."""
        store = open_store(self.store)
        prepared, _ = settled(prepare(self.config), store)
        return extract_clips(clips, store, prepared, progress, self.generation)
