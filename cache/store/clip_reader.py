"""Copies clips from part files into memory: by byte range, around the format libraries."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepcli.cache.parts.commit import PARTS
from stepcli.cache.parts.file_reader import FilePool, OpenFile, Piece, read_pieces
from stepcli.cache.parts.format_registry import array_file
from stepcli.cache.schema.layout import ArrayLayout, TokenLayout
from stepcli.cache.schema.manifest import Format
from stepcli.cache.storage.disk_cache import disk_cache
from stepcli.cache.storage.files import Place
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.store.snapshot import Snapshot
from stepcli.runtime.errors import DamagedStore, StoreError

DENSE_GAPS = 1 << 20
"""Bytes that are rather read in vain than left out by a second request."""


@dataclass(frozen=True)
class _Source:
    array: ArrayLayout
    file: str


class ClipReader:
    """Reads the arrays of a store's clips. Safe from several threads and after a fork."""

    def __init__(self, root: Place, form: Format, layout: TokenLayout) -> None:
        self._root = root
        self._parts = root / PARTS
        self._format = form
        self._layout = layout
        self._sources = [_Source(array, array_file(form, array)) for array in layout.arrays]
        self._files = FilePool()
        self._lengths: dict[str, int] = {}
        self._cache = disk_cache() if isinstance(root, ObjectPath) else None

    def read(
        self, snapshot: Snapshot, places: np.ndarray, array: int, out: np.ndarray | None
    ) -> np.ndarray:
        """Copy one array of some clips.

        Args:
            snapshot: where the clips lie.
            places: [n] positions in the snapshot.
            array: 0 for the tokens, then the scales in the layout's order.
            out: [n, ...] to fill, C order; made when None.

        Raises:
            FileNotFoundError: a part is gone.
            DamagedStore: a file ends too early.
            StoreError: a clip lies in a compressed part.
            ValueError: `out` has another shape, dtype or order.
        """
        source = self._sources[array]
        shape = (len(places), *source.array.clip_shape)
        if out is not None and (
            out.shape != shape or out.dtype != source.array.dtype or not out.flags.c_contiguous
        ):
            raise ValueError(
                f"out: expected {shape} {source.array.dtype.name} in C order, got {out.shape} "
                f"{out.dtype.name}"
            )
        if not len(places):
            return np.empty(shape, source.array.dtype) if out is None else out
        if array == 0:
            self._require_uncompressed(snapshot, places)
        if isinstance(self._parts, ObjectPath):
            return self._read_objects(self._parts, snapshot, places, source, out)
        size = source.array.clip_bytes
        files: dict[int, OpenFile] = {}
        pieces: list[Piece] = []
        for part, offset, start, end in _runs(snapshot, places, source.array):
            file = files.get(part)
            if file is None:
                name = snapshot.parts[part]
                file = files[part] = self._files.get(self._parts, name, source.file)
            # Before anything is allocated: what a hostile spec claims must be there in bytes.
            file.require(offset + (end - start) * size)
            pieces.append((file, offset, start * size, end * size))
        if out is None:
            out = np.empty(shape, source.array.dtype)
        read_pieces(pieces, out.data.cast("B"))
        return out

    def _require_uncompressed(self, snapshot: Snapshot, places: np.ndarray) -> None:
        compressed = snapshot.compressed_parts
        if compressed and not compressed.isdisjoint(snapshot.part_of[places].tolist()):
            parts = (
                "1 compressed part"
                if len(compressed) == 1
                else f"{len(compressed)} compressed parts"
            )
            raise StoreError(
                f"the store {self._root} has {parts}, written by an earlier version: stepcli store "
                f"compact --store {self._root} rewrites them uncompressed, stepcli store convert "
                f"{self._root} NEW makes an uncompressed copy"
            )

    def _read_objects(
        self,
        parts: ObjectPath,
        snapshot: Snapshot,
        places: np.ndarray,
        source: _Source,
        out: np.ndarray | None,
    ) -> np.ndarray:
        """The same from object storage: one request for the clips of each part."""
        size = source.array.clip_bytes
        found: list[Any] = [None] * len(places)
        part_of = snapshot.part_of[places]
        for part in np.unique(part_of).tolist():
            rows = np.flatnonzero(part_of == part)
            item = parts / snapshot.parts[part] / source.file
            starts = snapshot.offsets[source.array.name][places[rows]].tolist()
            clips = self._fetch(item, starts, size)
            for row, data in zip(rows.tolist(), clips, strict=True):
                found[row] = data
        if out is None:
            out = np.empty((len(places), *source.array.clip_shape), source.array.dtype)
        for row, data in enumerate(found):
            values = np.frombuffer(data, source.array.dtype)
            if values.nbytes != size:
                raise DamagedStore(f"{parts}: {values.nbytes} bytes of a clip, expected {size}")
            out[row] = values.reshape(source.array.clip_shape)
        return out

    def _fetch(self, item: ObjectPath, starts: list[int], size: int) -> Sequence[Any]:
        """Ranges of one object: from the local cache, where there is one, and one request."""
        found: list[Any] = [None] * len(starts)
        if self._cache is not None:
            found = [self._cache.get(f"{item} {start} {size}", size) for start in starts]
        left = [number for number, data in enumerate(found) if data is None]
        if not left:
            return found
        wanted = [starts[number] for number in left]
        for number, data in zip(left, self._fetch_ranges(item, wanted, size), strict=True):
            found[number] = data
            if self._cache is not None and len(data) == size:
                self._cache.put(f"{item} {starts[number]} {size}", bytes(data))
        return found

    def _fetch_ranges(self, item: ObjectPath, starts: list[int], size: int) -> Sequence[Any]:
        """Ranges of one object, none beyond its end: obstore cuts those out of what it has.

        The first answer tells how long the object is, and a part's files never change.
        """
        first, last = min(starts), max(starts)
        length = self._lengths.get(str(item))
        if length is not None:
            if last + size > length:
                raise DamagedStore(f"{item}: ends before byte {last + size}")
            return item.client.get_ranges(item.key, starts, size)
        # All of them in one request, where they lie close together; else the last one first.
        is_dense = last + size - first <= len(starts) * size + DENSE_GAPS
        begin = first if is_dense else last
        data, length = item.client.get_range(item.key, begin, last + size - begin)
        if length < last + size:
            raise DamagedStore(f"{item}: ends before byte {last + size}")
        self._lengths[str(item)] = length
        if is_dense:
            whole = memoryview(data).cast("B")
            return [whole[start - first : start - first + size] for start in starts]
        others = item.client.get_ranges(item.key, [s for s in starts if s != last], size)
        rest = iter(others)
        return [data if start == last else next(rest) for start in starts]

    def read_all(self, snapshot: Snapshot, places: np.ndarray) -> Sequence[np.ndarray]:
        """Every array of some clips, tokens first."""
        return [self.read(snapshot, places, array, None) for array in range(len(self._sources))]

    def forget(self) -> None:
        """Close the files kept open."""
        self._files.clear()


def _runs(
    snapshot: Snapshot, places: np.ndarray, array: ArrayLayout
) -> Iterator[tuple[int, int, int, int]]:
    """Clips that lie one behind the other are one read: (part, offset, first, past the last)."""
    parts = snapshot.part_of[places]
    offsets = snapshot.offsets[array.name][places]
    if len(places) == 1:
        return iter([(int(parts[0]), int(offsets[0]), 0, 1)])
    apart = (parts[1:] != parts[:-1]) | (offsets[1:] - offsets[:-1] != array.clip_bytes)
    starts = [0, *(np.flatnonzero(apart) + 1).tolist()]
    ends = [*starts[1:], len(places)]
    return zip(parts[starts].tolist(), offsets[starts].tolist(), starts, ends, strict=True)
