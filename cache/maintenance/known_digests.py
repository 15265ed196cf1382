"""Digests of videos that a resume had to read, kept so that the next one need not.

`.cache/digests-<16 digits>.parquet`, one per data set and share of it. Never the truth: a file that
is damaged or gone costs the time to read the videos again.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress

import pyarrow as pa

from stepcli.cache.parts.index import INDEX_LIMIT, decode_table, encode_table
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.derived_files import FOLDER
from stepcli.runtime.errors import StoreError

FileKey = tuple[str, int, int]
"""Absolute path, bytes, nanoseconds of the last change."""

_MOST = 1 << 26
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("digest", pa.string()),
    ]
)


def load_digests(root: StoragePath) -> dict[FileKey, str]:
    """All digests that a store keeps."""
    found: dict[FileKey, str] = {}
    for name in (root / FOLDER).child_names():
        if name.startswith("digests-") and name.endswith(".parquet"):
            found |= _read(root, name)
    return found


def save_digests(root: StoragePath, owner: str, fresh: Mapping[FileKey, str]) -> None:
    """Add digests to those kept; on a read-only store, do nothing.

    Args:
        root: the store.
        owner: what the digests are of; each owner has a file of its own, which it alone writes.
        fresh: the new ones.
    """
    name = f"digests-{hashlib.sha256(owner.encode(errors='surrogateescape')).hexdigest()[:16]}"
    known = {**_read(root, f"{name}.parquet"), **fresh}
    columns = [list(column) for column in zip(*known, strict=True)]
    try:
        table = pa.table([*columns, list(known.values())], schema=_SCHEMA)
    except UnicodeEncodeError:
        return  # a path that is not UTF-8: its clips are in quarantine for that
    with suppress(OSError, StoreError):  # every file system and server refuses in its own way
        folder = (root / FOLDER).make_folder()
        (folder / f"{name}.parquet").write(encode_table(table))


def _read(root: StoragePath, name: str) -> dict[FileKey, str]:
    path = root / FOLDER / name
    try:
        table = decode_table(path.read(INDEX_LIMIT), _SCHEMA, path, _MOST)
    except (StoreError, FileNotFoundError):
        return {}
    paths, sizes, times, digests = (column.to_pylist() for column in table.columns)
    return dict(zip(zip(paths, sizes, times, strict=True), digests, strict=True))
