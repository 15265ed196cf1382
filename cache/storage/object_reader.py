"""Byte ranges of objects, few requests for many of them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stepcli.cache.storage.disk_cache import disk_cache
from stepcli.cache.storage.handles import ClipSource
from stepcli.cache.storage.object_client import ObjectClient
from stepcli.runtime.errors import DamagedStore, StorageError

DENSE_GAPS = 1 << 20
"""Bytes that are rather read in vain than left out by a second request."""


class OpenObject:
    """See `RangeFile`."""

    def __init__(self, client: ObjectClient, key: str, place: str) -> None:
        self._client, self._key = client, key
        self.path = place
        self._size: int | None = None

    def read(self, length: int, offset: int) -> memoryview:
        """See `RangeFile`; the first answer tells how long the object is."""
        end = offset + length
        if self._size is None or end <= self._size:
            data, self._size = self._client.get_range(self._key, offset, length)
            whole = memoryview(data).cast("B")
            if len(whole) == length:
                return whole
        if end <= self._size:
            raise StorageError(
                f"cannot read {self.path}: the storage gave {len(whole)} of {length} bytes"
            )
        raise DamagedStore(
            f"{self.path}: ends at byte {self._size}, expected at least {end}; run stepcli store "
            "verify"
        )


class ObjectClips(ClipSource):
    """See `ClipSource`: one request for the ranges of each object, kept in the local cache."""

    def __init__(self, client: Callable[[], ObjectClient], key: str, place: str) -> None:
        """A source below a prefix.

        Args:
            client: the connection of the calling process.
            key: the prefix.
            place: its URL.
        """
        self._client = client
        self._key, self._place = key, place
        self._cache = disk_cache()
        self._lengths: dict[str, int] = {}
        """Of the objects seen, whose content never changes."""

    def read(
        self,
        folders: Sequence[str],
        file: str,
        which: np.ndarray,
        offsets: np.ndarray,
        size: int,
        buffer: Callable[[], memoryview],
    ) -> None:
        """See `ClipSource`."""
        found: list[Any] = [None] * len(which)
        for folder in np.unique(which).tolist():
            rows = np.flatnonzero(which == folder)
            item = f"{folders[folder]}/{file}"
            clips = self._fetch(item, offsets[rows].tolist(), size)
            for row, data in zip(rows.tolist(), clips, strict=True):
                found[row] = data
        target = buffer()
        for row, data in enumerate(found):
            values = memoryview(data).cast("B")
            if values.nbytes != size:
                raise DamagedStore(f"{self._place}: {values.nbytes} bytes, expected {size}")
            target[row * size : (row + 1) * size] = values

    def forget(self) -> None:
        """See `ClipSource`: nothing is open."""

    def _fetch(self, item: str, starts: list[int], size: int) -> Sequence[Any]:
        """Ranges of one object: from the local cache, where there is one, and one request."""
        found: list[Any] = [None] * len(starts)
        names = [f"{self._place}/{item} {start} {size}" for start in starts]
        if self._cache is not None:
            found = [self._cache.get(name, size) for name in names]
        left = [number for number, data in enumerate(found) if data is None]
        if not left:
            return found
        wanted = [starts[number] for number in left]
        for number, data in zip(left, self._fetch_ranges(item, wanted, size), strict=True):
            found[number] = data
            if self._cache is not None and len(data) == size:
                self._cache.put(names[number], bytes(data))
        return found

    def _fetch_ranges(self, item: str, starts: list[int], size: int) -> Sequence[Any]:
        """Ranges of one object, none beyond its end. The first answer tells how long it is."""
        client, key = self._client(), f"{self._key}/{item}"
        first, last = min(starts), max(starts)
        length = self._lengths.get(item)
        if length is not None:
            self._require(item, length, last + size)
            return client.get_ranges(key, starts, size)
        # All of them in one request, where they lie close together; else the last one first.
        is_dense = last + size - first <= len(starts) * size + DENSE_GAPS
        begin = first if is_dense else last
        data, length = client.get_range(key, begin, last + size - begin)
        self._require(item, length, last + size)
        self._lengths[item] = length
        if is_dense:
            whole = memoryview(data).cast("B")
            return [whole[start - first : start - first + size] for start in starts]
        others = client.get_ranges(key, [start for start in starts if start != last], size)
        rest = iter(others)
        return [data if start == last else next(rest) for start in starts]

    def _require(self, item: str, length: int, end: int) -> None:
        if length < end:
            raise DamagedStore(f"{self._place}/{item}: ends before byte {end}")
