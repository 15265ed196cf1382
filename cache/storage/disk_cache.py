"""Clips of stores in object storage, kept on a local disk between reads: STEPCLI_CACHE=folder.

Entries are whole clips, each with its own crc32c, named by where they came from: a part's name is
unique for ever and its files never change, so an entry cannot be out of date. Several processes
may share a folder: entries appear by a rename, and one that is gone is only fetched again.
"""

import hashlib
import os
import uuid
from contextlib import suppress
from pathlib import Path

import google_crc32c

from stepcli.runtime.errors import UsageError

FOLDER_VARIABLE = "STEPCLI_CACHE"
LIMIT_VARIABLE = "STEPCLI_CACHE_BYTES"
DEFAULT_LIMIT = 20 << 30
"""Bytes."""
_CHECKSUM_BYTES = 4


class DiskCache:
    """Clips by name; beyond `limit` bytes those used longest ago are dropped."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        # The first entry prunes: many short processes would else fill the disk between them.
        self._since_pruned = limit
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{FOLDER_VARIABLE}={folder}: {error.strerror}; name a folder that can be written"
            ) from error

    def get(self, name: str, size: int) -> bytes | None:
        """An entry's bytes; None where there is none, or it is not what was put there."""
        path = self._path(name)
        try:
            data = path.read_bytes()
        except OSError:  # none, or another user's
            return None
        body = data[:-_CHECKSUM_BYTES]
        if len(body) != size or data[-_CHECKSUM_BYTES:] != _checksum(body):
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(path)  # used now
        return body

    def put(self, name: str, data: bytes) -> None:
        """Keep an entry; where the disk is full, do without."""
        path = self._path(name)
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_name(f".{uuid.uuid4().hex}")
            try:
                with temporary.open("xb") as file:  # as the umask has it: others may share them
                    file.write(data)
                    file.write(_checksum(data))
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
        self._since_pruned += len(data)
        if self._since_pruned > self._limit // 16:
            self.prune()

    def prune(self) -> None:
        """Drop what was used longest ago until a sixteenth of the limit is free."""
        self._since_pruned = 0
        entries = []
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        excess = sum(size for _, size, _ in entries) - (self._limit - self._limit // 16)
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            with suppress(PermissionError):
                path.unlink(missing_ok=True)
                excess -= size

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self._folder / digest[:2] / digest[2:]


def _checksum(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(_CHECKSUM_BYTES, "little")


def disk_cache() -> DiskCache | None:
    """The cache that the environment asks for; None where it asks for none.

    Raises:
        UsageError: a limit that is no number of bytes, a folder that cannot be made.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT))
    if not text.isdecimal() or not int(text):
        raise UsageError(f"{LIMIT_VARIABLE}={text}: expected a number of bytes, e.g. 20000000000")
    return DiskCache(Path(folder).expanduser(), int(text))
