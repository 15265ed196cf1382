"""What every clip of a store was made from, gathered from its parts."""

from itertools import pairwise

import numpy as np

from stepcli.cache.clips import Source
from stepcli.cache.parts.folders import generation_of
from stepcli.cache.parts.sources import read_sources
from stepcli.cache.reading.snapshot import Snapshot, read_index
from stepcli.cache.store import Store


def origins_of(store: Store) -> dict[str, Source]:
    """Stored id -> source, for the clips whose source is recorded.

    Raises:
        DamagedStore: a part's record of its sources is not what was written.
    """
    while True:
        snapshot = store.snapshot
        try:
            return _gather(store, snapshot)
        except FileNotFoundError:  # compacted meanwhile
            store.refresh()
            if store.snapshot is snapshot:
                raise


def _gather(store: Store, snapshot: Snapshot) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for part, places in _by_part(snapshot):
        sources = read_sources(store.path, part)
        for place, row in zip(places.tolist(), snapshot.row_of[places].tolist(), strict=True):
            if row in sources:
                found[snapshot.ids[place]] = sources[row]
    return found


def paths_read(store: Store) -> dict[str, str]:
    """Stored id -> path of its video as the decoder was given it; every version recorded that."""
    found: dict[str, str] = {}
    snapshot = store.snapshot
    for part, places in _by_part(snapshot):
        paths = read_index(store.path, part, store.manifest)["source"].to_pylist()
        for place, row in zip(places.tolist(), snapshot.row_of[places].tolist(), strict=True):
            found[snapshot.ids[place]] = paths[row]
    return found


def clip_generation(store: Store, stored_id: str) -> int:
    """The generation of the part that a committed clip is read from."""
    snapshot = store.snapshot
    return generation_of(snapshot.parts[snapshot.part_of[snapshot.positions[stored_id]]])


def _by_part(snapshot: Snapshot) -> list[tuple[str, np.ndarray]]:
    """Parts with the places of the clips that are read from them; those without any left out."""
    order = np.argsort(snapshot.part_of, kind="stable")
    bounds = np.searchsorted(snapshot.part_of[order], np.arange(len(snapshot.parts) + 1))
    pieces = [order[start:stop] for start, stop in pairwise(bounds)]
    return [
        (part, places) for part, places in zip(snapshot.parts, pieces, strict=True) if len(places)
    ]
