"""The store of a run without --store: named by what it holds, or one of an earlier version."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from stepcli.cache.schema.manifest import FILE_NAME
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.store.locate import stores_folder
from stepcli.cache.store.origins import origins_of, paths_read
from stepcli.cache.store.store import Store, open_store
from stepcli.extract.backbones.names import PREFIX, stored_name
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.sources.compare import Digester, compare
from stepcli.extract.sources.place import is_same_folder
from stepcli.runtime.code_files import plain_name
from stepcli.runtime.errors import StepcliError

LONGEST_FOLDER = 40
"""Characters of a root's name in the name of a store."""
DIGEST_DIGITS = 8
TRIED = 20
"""Clips that show whether another store holds the same videos."""


def choose_store(
    own: Path, common: str, dataset: Dataset, clips: Sequence[Clip], spec: StoreSpec
) -> tuple[Path, list[str]]:
    """The default store of a run, and notes.

    A store that carries no root in its name, or another root's, is continued only where it is
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


def default_store(config: ExtractConfig, root: Path | None) -> Path:
    """Where the tokens go when the user does not say.

    Args:
        config: what is to be stored.
        root: folder of the data set; None for clips that ship with stepcli, wherever they lie.
    """
    name = unrooted_name(config)
    if root is not None:
        folder = re.sub(r"[^A-Za-z0-9._-]+", "_", root.name)[:LONGEST_FOLDER] or "root"
        digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:DIGEST_DIGITS]
        name += f"-{folder}-{digest}"
    return stores_folder() / name


def unrooted_name(config: ExtractConfig) -> str:
    """What earlier versions called the store of any root; now the beginning of its name."""
    backbone = plain_name(stored_name(config.backbone))
    if backbone.startswith(PREFIX):
        backbone = "hf-" + backbone.removeprefix(PREFIX).rstrip("/").rpartition("/")[2]
    tokens = config.tokens.replace(",", "+")
    frames = f"{config.frames}f" if config.windows is None else plain_name(config.windows)
    return f"{plain_name(config.dataset)}-{backbone}-{frames}-{tokens}"
