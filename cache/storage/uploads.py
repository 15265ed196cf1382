"""Folders on their way into object storage: all files, then the record; and what never arrived."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from stepcli.cache.storage import writer_identity as owner
from stepcli.cache.storage.handles import Entry
from stepcli.cache.storage.path import StoragePath
from stepcli.runtime.errors import StoreError


def upload(
    target: StoragePath,
    put: Callable[[str, Path], None],
    staged: Path,
    sizes: Mapping[str, int],
    record: str,
) -> None:
    """Upload a folder's files, check that they arrived, and only then its record.

    Args:
        target: where the folder goes.
        put: uploads one file to a path below that.
        staged: where the folder is.
        sizes: bytes of each file, without the record.
        record: name of the file that is uploaded last.

    Raises:
        StoreError: a file is missing or too short: no reader sees the folder.
    """
    for path in sizes:
        put(path, staged / path)
    there = target.entries()
    for path, size in sizes.items():
        if path not in there or there[path].size != size:
            raise StoreError(
                f"{target / path}: expected {size} bytes after uploading, the storage lists "
                f"{there[path].size if path in there else 'no such object'}; run the same "
                "command again to resume"
            )
    (target / record).create((staged / record).read_bytes())


def sweep_uploads(parts: StoragePath, record: str, is_part: Callable[[str], bool]) -> list[str]:
    """Delete the objects of parts without a record whose writer is gone; names of the parts.

    A writer elsewhere cannot be asked whether it lives. One that writes no object for
    `owner.LEASE_HOURS` counts as dead; should it live after all, `upload` notices.
    """
    found: dict[str, dict[str, Entry]] = {}
    for path, entry in parts.entries().items():
        name, _, file = path.partition("/")
        found.setdefault(name, {})[file] = entry
    swept = []
    for name, files in found.items():
        if not is_part(name) or record in files or not _abandoned(files):
            continue
        now = (parts / name).entries()  # a merge may have begun to upload it anew
        if record in now or not _abandoned(now):
            continue
        for file in now:
            (parts / name / file).remove()
        swept.append(name)
    return swept


def _abandoned(files: Mapping[str, Entry]) -> bool:
    latest = time.time() - owner.LEASE_HOURS * 3600
    return all(entry.written is not None and entry.written < latest for entry in files.values())
