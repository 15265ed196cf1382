"""memory://: objects in this process, for tests and for trying things out."""

import os
import threading
import time
from pathlib import Path
from typing import Any

from stepcli.cache.storage.handles import Entry
from stepcli.cache.storage.object_client import ObjectClient
from stepcli.runtime.errors import DamagedStore


class MemoryClient(ObjectClient):
    """See `ObjectClient`. A forked child begins with a copy of the objects."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get_versioned(self, key: str, limit: int | None) -> tuple[bytes, Any]:
        """See `ObjectClient`."""
        url = f"{self._url}/{key}"
        if url not in _OBJECTS:
            raise FileNotFoundError(f"no object {url}")
        content, written = _OBJECTS[url]
        if limit is not None and len(content) > limit:
            raise DamagedStore(f"{url}: expected at most {limit} bytes, found {len(content)}")
        return content, written

    def get_range(self, key: str, start: int, length: int) -> tuple[Any, int]:
        """See `ObjectClient`."""
        content = self.get(key)
        return memoryview(content)[start : start + length], len(content)

    def put(self, key: str, source: bytes | Path) -> None:
        """See `ObjectClient`."""
        content = source if isinstance(source, bytes) else source.read_bytes()
        with _Lock.held:
            self._put(key, content)

    def swap(self, key: str, content: bytes, version: Any) -> bool:
        """See `ObjectClient`."""
        with _Lock.held:
            present = _OBJECTS.get(f"{self._url}/{key}")
            if (None if present is None else present[1]) != version:
                return False
            self._put(key, content)
            return True

    def _put(self, key: str, content: bytes) -> None:
        _Lock.latest = max(time.time_ns(), _Lock.latest + 1)
        _OBJECTS[f"{self._url}/{key}"] = content, _Lock.latest

    def entries(self, prefix: str) -> dict[str, Entry]:
        """See `ObjectClient`."""
        below = f"{self._url}/{prefix}"
        skip = len(self._url) + 1
        with _Lock.held:
            found = {url: each for url, each in _OBJECTS.items() if url.startswith(below)}
        return {url[skip:]: Entry(len(each[0]), each[1] / 1e9) for url, each in found.items()}

    def delete(self, key: str) -> None:
        """See `ObjectClient`."""
        with _Lock.held:
            _OBJECTS.pop(f"{self._url}/{key}", None)


class _Lock:
    held = threading.Lock()
    latest = 0
    """Nanoseconds since the epoch of the last write; no two are equal."""


_OBJECTS: dict[str, tuple[bytes, int]] = {}
"""By URL: content, and time of writing as of `_Lock.latest`."""


def _after_fork() -> None:
    _Lock.held = threading.Lock()  # a thread that the child lacks may hold it


os.register_at_fork(after_in_child=_after_fork)
