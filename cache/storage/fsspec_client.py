"""Object storage through fsspec, for URLs that obstore does not know."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]

from stepcli.cache.storage.object_client import Entry
from stepcli.runtime.credentials import redacted
from stepcli.runtime.errors import DamagedStore, UsageError


class FsspecClient:
    """See `ObjectClient`."""

    conditional = False

    def __init__(self, url: str, address: str = "") -> None:
        """Connect; `address` is the URL with the credentials that it was given with."""
        self._url = url
        try:
            self._files, self._prefix = fsspec.core.url_to_fs(address or url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{url}: {redacted(' '.join(str(error).split()))}") from error
        self._prefix = self._prefix.rstrip("/")

    def _path(self, key: str) -> str:
        return f"{self._prefix}/{key}"

    def get(self, key: str, limit: int | None = None) -> bytes:
        """A whole object of at most `limit` bytes; FileNotFoundError when there is none."""
        if limit is not None and (size := self.size(key)) > limit:
            raise DamagedStore(f"{self._url}/{key}: expected at most {limit} bytes, found {size}")
        return bytes(self._files.cat_file(self._path(key)))

    def get_versioned(self, key: str, limit: int) -> tuple[bytes, str]:
        """A whole object, and the digest that stands for its version."""
        content = self.get(key, limit)
        return content, hashlib.sha256(content).hexdigest()

    def swap(self, key: str, content: bytes, version: str | None) -> bool:
        """Write an object if it is still of this version; the caller holds a claim."""
        if version is None:
            return self.put(key, content, create=True)
        try:
            if hashlib.sha256(self.get(key)).hexdigest() != version:
                return False
        except FileNotFoundError:
            return False
        return self.put(key, content)

    def get_ranges(self, key: str, starts: Sequence[int], length: int) -> Sequence[Any]:
        """Ranges of one length."""
        paths = [self._path(key)] * len(starts)
        ends = [start + length for start in starts]
        return list(self._files.cat_ranges(paths, list(starts), ends, on_error="raise"))

    def get_range(self, key: str, start: int, length: int) -> tuple[bytes, int]:
        """One range, and the object's length."""
        size = self.size(key)
        if start >= size:
            return b"", start
        end = min(start + length, size)
        return bytes(self._files.cat_file(self._path(key), start, end)), size

    def size(self, key: str) -> int:
        """Bytes of an object; FileNotFoundError when there is none."""
        return int(self._files.info(self._path(key))["size"])

    def put(self, key: str, source: bytes | Path, *, create: bool = False) -> bool:
        """Write an object; with `create` only if there is none: False when there is."""
        path = self._path(key)
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        if isinstance(source, Path) and not create:
            self._files.put_file(str(source), path)
            return True
        content = source.read_bytes() if isinstance(source, Path) else source
        try:
            self._files.pipe_file(path, content, mode="create" if create else "overwrite")
        except FileExistsError:
            return False
        return True

    def replace(self, key: str, content: bytes) -> None:
        """Write an object, whatever is there."""
        self.put(key, content)

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the storage, over what is there."""
        path = self._path(target)
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.cp_file(self._path(key), path)

    def entries(self, prefix: str) -> dict[str, Entry]:
        """All objects below a prefix, by key."""
        folder = self._path(prefix).rstrip("/")
        self._files.invalidate_cache(folder)
        found = self._files.find(folder, detail=True)
        skip = len(self._prefix) + 1
        return {path[skip:]: Entry(info["size"], _written(info)) for path, info in found.items()}

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        if self._files.exists(self._path(key)):
            self._files.rm_file(self._path(key))


def _written(info: Mapping[str, Any]) -> float | None:
    """When an object was written: each file system of fsspec calls it as it likes."""
    for name in ("LastModified", "last_modified", "mtime", "created"):
        when = info.get(name)
        if isinstance(when, datetime):
            return when.timestamp()
        if isinstance(when, int | float):
            return float(when)
    return None
