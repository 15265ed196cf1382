"""What every clip of a store was made from, gathered from its parts."""

from collections import defaultdict
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from stepcli.cache.parts.commit import generation_of
from stepcli.cache.parts.sources import read_sources, read_stretches
from stepcli.cache.schema.clips import Source
from stepcli.cache.schema.views import clip_of
from stepcli.cache.store.snapshot import Snapshot, read_index
from stepcli.cache.store.store import Store

READERS = 8
"""Parts whose sources are read at once."""


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


def same_stretches(store: Store, snapshot: Snapshot) -> list[list[int]]:
    """Positions of stored clips made from the same stretch of equal files, where there are several.

    Raises:
        FileNotFoundError: a part was compacted away meanwhile.
        DamagedStore: a part's record of its sources is not what was written.
    """
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    parts = _by_part(snapshot)
    with ThreadPoolExecutor(READERS) as pool:  # in object storage each part is two requests
        every = list(pool.map(lambda part: read_stretches(store.path, part[0]), parts))
    for (_, places), stretches in zip(parts, every, strict=True):
        if stretches:
            for place, row in zip(places.tolist(), snapshot.row_of[places].tolist(), strict=True):
                found[stretches[row]].append(place)
    return [same for (digest, _), same in found.items() if digest and len(same) > 1]


def stretches_of(store: Store, clips: Collection[str]) -> dict[str, set[tuple[str, str]]]:
    """Clip id -> (digest, segment) of what its views were made from, for some clips.

    Raises:
        DamagedStore: a part's record of its sources is not what was written.
    """
    snapshot = store.snapshot
    wanted = [place for place, i in enumerate(snapshot.ids) if clip_of(i) in clips]
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for number in np.unique(snapshot.part_of[wanted]).tolist() if wanted else ():
        stretches = read_stretches(store.path, snapshot.parts[number])
        for place in wanted:
            row = int(snapshot.row_of[place])
            if snapshot.part_of[place] == number and stretches and stretches[row][0]:
                found[clip_of(snapshot.ids[place])].add(stretches[row])
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
