"""Which store a run without --store goes on with: its own, or that of an earlier version."""

import os
from collections.abc import Sequence
from pathlib import Path

from stepcli.cache.maintenance.origins import origins_of, paths_read
from stepcli.cache.schema.manifest import FILE_NAME
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.store.store import Store, open_store
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.sources.compare import Digester, compare
from stepcli.extract.sources.place import is_same_folder
from stepcli.runtime.errors import StepcliError

TRIED = 20
"""Clips that show whether another store holds the same videos."""


def choose_store(
    own: Path, common: str, dataset: Dataset, clips: Sequence[Clip], spec: StoreSpec
) -> tuple[Path, list[str]]:
    """The default store of a run, and notes.

    A store that carries no root in its name, or another root's, is gone on with only where it is
    known to be of this root; one that may be is named.

    Args:
        own: the name that this version gives.
        common: how the names of all stores of such clips begin, whatever their root.
        dataset: with its root.
        clips: those that the run is about.
        spec: of the run.
    """
    if dataset.bundled or dataset.root is None or (own / FILE_NAME).exists():
        return own, []
    notes = []
    for place in sorted(own.parent.glob(f"{common}*")):
        if place == own or not (place.name == common or place.name.startswith(f"{common}-")):
            continue
        try:
            store = open_store(place)
        except StepcliError:
            continue  # a folder without a store, or a damaged one: not ours to go on with
        if store.spec != spec or store.dataset != dataset.name or not len(store):
            continue
        verdict = _judge(store, str(dataset.root), clips)
        if verdict == "same":
            return place, [f"going on with the store {place}, which is of this data set"]
        if verdict:
            notes.append(
                f"{place} {verdict}; to go on with it give --store {place} (a new store is made "
                f"at {own})"
            )
    return own, notes


def _judge(store: Store, root: str, clips: Sequence[Clip]) -> str:
    """ "same", "" for another data set's, else what speaks for it being this one's."""
    origins = origins_of(store)
    if origins:
        if any(is_same_folder(origin.root, root) for origin in origins.values()):
            return "same"
        known = [clip for clip in clips if clip.id in origins]
        tried = compare(
            known[:: max(1, len(known) // TRIED)][:TRIED], origins, origins, digester=Digester({})
        )
        if not tried.same or tried.changed:
            return ""
        roots = sorted({origins[one].root for one in tried.same})
        if not any(map(os.path.exists, roots)):
            return "same"  # moved, not copied; all clips are compared before any is taken
        return f"holds the same videos, read from {', '.join(roots)}"
    read_from = paths_read(store)
    below = [os.path.isabs(path) and path.startswith(f"{root}/") for path in read_from.values()]  # noqa: PTH117
    if all(below):
        return "same"
    relative = [path for path in read_from.values() if not os.path.isabs(path)]  # noqa: PTH117
    if any(below) or relative:
        return "was made by an earlier version and may hold clips of this root"
    return ""
