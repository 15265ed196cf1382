"""The clips table during a run: lines as the list has them, without clips in the making."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from stepcli.cache.maintenance.prune import take_out
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.store.store import Store
from stepcli.extract.datasets.clip import Dataset
from stepcli.extract.decode.views import rows_of
from stepcli.extract.pipeline.summary import say, say_notes, way_back
from stepcli.extract.sources.stock import Stock, not_listed_note


@contextmanager
def current_table(
    store: Store, dataset: Dataset, stock: Stock, mirror_of: dict[str, str], *, prune: bool
) -> Iterator[None]:
    """Bring the clips table and the classes up to the list.

    Clips that are extracted again are out of the table until the end, and come back once their new
    tokens are stored.

    Args:
        store: to change.
        dataset: as listed.
        stock: the store compared with the list; what was pruned leaves its `not_listed`.
        mirror_of: class -> class that a flip makes of it.
        prune: take clips that the list does not name out of training.
    """
    rows = [row for clip in stock.clips for row in rows_of(clip, mirror_of)]
    redone = _set_aside(store, stock, rows)
    out = stock.redo.ids if stock.redo is not None else frozenset()
    add_rows(store, dataset, [row for row in rows if row.id not in out])
    if prune and stock.not_listed:
        _prune(store, stock)
    say_notes([not_listed_note(stock.not_listed, {row.id for row in store.clips()})])
    try:
        yield
    finally:
        if stock.redo is not None:
            store.refresh()
            store.add_clips(row for row in redone if stock.redo.is_done(store, row.id))


def _set_aside(store: Store, stock: Stock, rows: Iterable[ClipRow]) -> list[ClipRow]:
    """The lines of clips that are extracted again, those of the list for clips without one."""
    if stock.redo is None:
        return []
    taken, _ = take_out(store, stock.redo.ids)
    known = {row.id for row in taken}
    return taken + [row for row in rows if row.id in stock.redo.ids - known]


def add_rows(store: Store, dataset: Dataset, rows: list[ClipRow]) -> None:
    """Add the lines that the clips table lacks, and the classes where there are none."""
    differing = store.add_clips(rows)
    if differing:
        say(
            f"note: {len(differing)} clips have another label, split or group in the store's "
            f"clips table than in {dataset.name} now (e.g. {differing[0].id}); the store's are kept"
        )
    store.add_classes(dataset.classes)


def _prune(store: Store, stock: Stock) -> None:
    _, file = take_out(store, stock.not_listed)
    # Of those that were never stored nothing is left.
    stock.not_listed = [clip for clip in stock.not_listed if clip in store]
    if file is not None:
        say(f"clips that the list does not name are out of training; {way_back(store, file)}")
