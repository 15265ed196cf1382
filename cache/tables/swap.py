"""Read a small file together with its version, and replace it only if it still is that version."""

import hashlib
import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcli.cache.storage.files import Place, read_regular, replace_synced
from stepcli.cache.storage.objects import ObjectPath
from stepcli.runtime.errors import StoreError

ATTEMPTS = 200
_TEMPORARY = re.compile(
    r"\.(tables\.json|text\.json|text-[0-9a-f]{64}\.safetensors|clips\.parquet|classes\.csv|"
    r"(clips|classes)-\d{6,12}-[0-9a-f]{64}\.(parquet|csv))\.[0-9a-f]{32}"
)
"""Names that `replace_synced` and `create_synced` give to drafts of files that a lock guards."""
ABSENT = "absent"
"""Stands for the digest of a file that is not there yet."""


@dataclass(frozen=True)
class Seen:
    """What a file held when it was read."""

    content: bytes | None
    """None: there was no file."""
    version: Any
    """What tells this content from another writer's."""

    @property
    def digest(self) -> str:
        """sha256 of the content; `ABSENT` where there is none."""
        return ABSENT if self.content is None else hashlib.sha256(self.content).hexdigest()


def look(path: Place, limit: int) -> Seen:
    """Read a file of at most `limit` bytes.

    Raises:
        DamagedStore: it is larger, or no plain file.
    """
    if isinstance(path, ObjectPath):
        try:
            content, version = path.client.get_versioned(path.key, limit)
        except FileNotFoundError:
            return Seen(None, None)
        return Seen(content, version)
    while True:
        before = _identity(path)
        try:
            seen = read_regular(path, limit)
        except FileNotFoundError:
            return Seen(None, None)
        if before == _identity(path):  # else replaced while it was read
            return Seen(seen, before)


def swap(path: Place, content: bytes, seen: Seen) -> bool:
    """Replace a file; False when it is no longer what was seen: look again.

    On a disk the caller holds the lock that all writers hold; what is noticed here besides is a
    file that somebody edits with another program.
    """
    if isinstance(path, ObjectPath):
        return path.client.swap(path.key, content, seen.version)
    if _identity(path) != seen.version:
        return False
    replace_synced(path, content)
    return True


def sweep_temporaries(folder: Place) -> None:
    """Remove what killed writers have left of files that were to be replaced.

    On a disk; the caller holds the lock that their writers hold.
    """
    if not isinstance(folder, Path):
        return
    with suppress(OSError):  # the change is made, whether or not this can be done
        for path in list(folder.iterdir()):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


def attempts(what: Place) -> Iterator[int]:
    """Numbers of attempts, with growing pauses between, drawn so that rivals do not keep step.

    Raises:
        StoreError: none of `ATTEMPTS` succeeded.
    """
    for number in range(ATTEMPTS):
        yield number
        time.sleep(random.uniform(0, min(0.02 * 2 ** min(number, 6), 1.0)))
    raise StoreError(
        f"{what}: others change it all the time; run the command again when they are done"
    )


def _identity(path: Place) -> tuple[int, ...] | None:
    try:
        status = os.stat(str(path), follow_symlinks=False)  # noqa: PTH116 (a Place is no Path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
