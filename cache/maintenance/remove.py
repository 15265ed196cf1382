"""Find the stores of a folder, and delete one: never anything that is not a store."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from stepcli.cache.maintenance.prune import FOLDER as PRUNED
from stepcli.cache.parts.commit import PARTS, TOMBSTONES, staging_owners
from stepcli.cache.parts.damaged import DAMAGED
from stepcli.cache.schema.manifest import FILE_NAME, read_manifest
from stepcli.cache.storage.claims import FOLDER as CLAIMS
from stepcli.cache.storage.lock import LOCK
from stepcli.cache.storage.places import place_of
from stepcli.cache.storage.writer_identity import STAGING, is_dead
from stepcli.cache.store.derived_files import FOLDER as CONSOLIDATED
from stepcli.cache.store.store import open_store
from stepcli.cache.tables.digests import CLASSES, CLIPS, DIGESTS, SEGMENTS
from stepcli.cache.tables.failures import FOLDER as FAILURES
from stepcli.cache.tables.table_versions import FOLDER as VERSIONS
from stepcli.cache.tables.texts import FACTS, OLD_TENSORS
from stepcli.cache.tables.texts import FOLDER as TEXTS
from stepcli.runtime.errors import StoreError, UsageError
from stepcli.runtime.files import disk_errors
from stepcli.runtime.words import listed

OWN = frozenset(
    {FILE_NAME, PARTS, TOMBSTONES, DAMAGED, CLAIMS, LOCK, STAGING, CONSOLIDATED, CLASSES, CLIPS}
    | {DIGESTS, SEGMENTS, FAILURES, VERSIONS, TEXTS, FACTS, OLD_TENSORS, PRUNED}
)
"""Names of the entries directly in a store's folder."""
BESIDE = frozenset({".DS_Store", "README.md", ".gitattributes", ".huggingface"})
"""What a file browser, `push` or the hub's client puts there."""


@dataclass(frozen=True)
class StoreFacts:
    """A store in a list of stores."""

    path: str
    dataset: str
    backbone: str
    clips: int
    """Stored views of clips."""
    frames: int
    tokens: str
    dtype: str
    bytes: int
    """Of all its files."""
    problem: str = ""
    """Why the rest is not known; else empty."""


def list_stores(folder: Path) -> list[StoreFacts]:
    """Every store directly below a folder, by name; one that cannot be opened is listed too.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; make a store with stepcli extract")
    return [_facts(path) for path in sorted(folder.iterdir()) if (path / FILE_NAME).is_file()]


def _facts(path: Path) -> StoreFacts:
    size = size_of(path)
    try:
        store = open_store(path)
    except StoreError as error:
        return StoreFacts(str(path), "", "", 0, 0, "", "", size, str(error))
    spec = store.spec
    tokens = ",".join(segment.name for segment in spec.segments)
    return StoreFacts(
        *(str(path), store.dataset, spec.backbone, len(store.ids)),
        *(spec.frames, tokens, spec.dtype, size),
    )


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; links are not followed."""
    return sum(
        (Path(place) / name).lstat().st_size
        for place, _, names in os.walk(folder)
        for name in names
    )


def require_removable(path: Path) -> int:
    """Bytes of a store that may be deleted.

    Raises:
        StoreNotFound: the folder is no store.
        DamagedStore: its manifest is not readable.
        UsageError: a link, object storage, a folder with other files in it, or somebody writes.
    """
    place = place_of(path)
    if place.local is None:
        raise UsageError(f"{path}: delete a store in object storage with the storage's own tools")
    if path.is_symlink():
        raise UsageError(f"{path} is a link; delete the store that it points to, or the link")
    read_manifest(place)  # refuses what is no store
    if foreign := sorted(_foreign(path)):
        raise UsageError(
            f"{path} holds more than a store: {listed(foreign)}; move that away first, nothing was "
            "deleted"
        )
    living = [
        owner.name
        for owner, folder in staging_owners(place)
        if not is_dead(owner, folder.stat().st_mtime)
    ]
    if living:
        raise UsageError(f"{path} is being written by {listed(living)}; stop that first")
    return size_of(path)


def _foreign(path: Path) -> Iterator[str]:
    for entry in path.iterdir():
        if entry.name not in OWN | BESIDE or entry.is_symlink():
            yield entry.name


def remove_store(path: Path) -> None:
    """Delete a store that `require_removable` has passed; it disappears at once.

    Raises:
        StoreError: the disk refuses.
    """
    going = path.with_name(f".deleted-{path.name}-{uuid4().hex[:8]}")
    with disk_errors(path):
        path.rename(going)
        shutil.rmtree(going)
