"""What extraction found out about clips; the index of each part is read once for all of them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from stepcli.cache.parts.commit import PARTS
from stepcli.cache.parts.index import records_of
from stepcli.cache.schema.clips import ClipRecord
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.snapshot import Snapshot, read_index
from stepcli.runtime.errors import DamagedStore


def read_records(
    root: StoragePath, snapshot: Snapshot, places: np.ndarray, manifest: Manifest
) -> list[ClipRecord]:
    """Records of clips, in the order of `places`.

    Args:
        root: the store.
        snapshot: where its clips lie.
        places: [n] positions in the snapshot.
        manifest: of the store.

    Raises:
        FileNotFoundError: a part is gone.
        DamagedStore: an index is not what was written, or has another clip in a row.
    """
    if not len(places):
        return []
    with _without_collection():
        return _read(root, snapshot, places, manifest)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Records hold no cycles, and looking for some among a million new objects takes as long as
    making them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(
    root: StoragePath, snapshot: Snapshot, places: np.ndarray, manifest: Manifest
) -> list[ClipRecord]:
    found: dict[int, ClipRecord] = {}
    order = places[np.argsort(snapshot.part_of[places], kind="stable")]
    parts, starts = np.unique(snapshot.part_of[order], return_index=True)
    for part, mine in zip(parts.tolist(), np.split(order, starts[1:]), strict=True):
        name = snapshot.parts[part]
        index = read_index(root, name, manifest)
        rows = snapshot.row_of[mine]
        ids = [snapshot.ids[place] for place in mine.tolist()]
        inside = bool(rows.max() < index.num_rows)
        records = records_of(index.take(rows)) if inside else []
        here = [record.id for record in records]
        if here != ids:
            pairs = zip(ids, here, strict=True) if inside else ((clip, "") for clip in ids)
            moved = next(clip for clip, other in pairs if clip != other)
            raise DamagedStore(
                f"{root / PARTS / name}: clip {moved!r} is not where the consolidated index has "
                "it; delete the store's .cache"
            )
        found.update(zip(mine.tolist(), records, strict=True))
    return [found[place] for place in places.tolist()]
