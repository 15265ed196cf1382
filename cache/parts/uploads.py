"""Parts on their way into object storage: all files, then the record; and what never arrived."""

import time
from collections.abc import Callable
from pathlib import Path

from stepcli.cache.parts import writer_identity as owner
from stepcli.cache.parts.record import PartRecord
from stepcli.cache.storage.files import create_synced, delete_file
from stepcli.cache.storage.object_client import Entry
from stepcli.cache.storage.objects import ObjectPath
from stepcli.runtime.errors import StoreError


def upload_part(target: ObjectPath, part: Path, record: PartRecord, record_name: str) -> None:
    """Upload a part's files, see that they are there, and only then its record.

    Raises:
        StoreError: a file is missing or too short: nobody sees the part.
    """
    for path in record.files:
        target.client.put(f"{target.key}/{path}", part / path)
    there = target.entries()
    for path, expected in record.files.items():
        if path not in there or there[path].size != expected.size:
            raise StoreError(
                f"{target / path}: expected {expected.size} bytes after uploading, the storage "
                f"lists {there[path].size if path in there else 'no such object'}; run the same "
                "command again to resume"
            )
    create_synced(target / record_name, (part / record_name).read_bytes())


def sweep_uploads(
    parts: ObjectPath, record_name: str, is_part_name: Callable[[str], bool]
) -> list[str]:
    """Remove the objects of parts whose record never came and whose writer has gone.

    Nobody can ask a writer elsewhere whether it lives. One that does not write an object for
    `owner.LEASE_HOURS` counts as dead; should it live after all, `upload_part` notices.

    Returns:
        Names of the parts.
    """
    found: dict[str, dict[str, Entry]] = {}
    for path, entry in parts.entries().items():
        name, _, file = path.partition("/")
        found.setdefault(name, {})[file] = entry
    swept = []
    for name, files in found.items():
        if not is_part_name(name) or record_name in files or not _abandoned(files):
            continue
        now = (parts / name).entries()  # a merge may have begun to upload it anew
        if record_name in now or not _abandoned(now):
            continue
        for file in now:
            delete_file(parts / name / file)
        swept.append(name)
    return swept


def _abandoned(files: dict[str, Entry]) -> bool:
    latest = time.time() - owner.LEASE_HOURS * 3600
    return all(entry.written is not None and entry.written < latest for entry in files.values())
