"""The clips of one part, straight from its files, each held against its checksum.

What copies or checks clips reads them here; what serves probes reads in `clip_reader.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa

from stepcli.cache.parts.byte_source import OpenObject, open_source
from stepcli.cache.parts.commit import PARTS, read_part_record
from stepcli.cache.parts.file_reader import OpenFile
from stepcli.cache.parts.files import wrong_file
from stepcli.cache.parts.format_registry import array_file
from stepcli.cache.parts.index import offset_column, record_of
from stepcli.cache.parts.open_part import clip_checksum
from stepcli.cache.parts.packed_tokens import PackedTokens, open_packed
from stepcli.cache.parts.sources import read_sources
from stepcli.cache.schema.clips import ClipRecord
from stepcli.cache.schema.layout import ArrayLayout, layout_of
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.storage.files import Place
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.parquet_tables import numbers


@dataclass(frozen=True)
class StoredClip:
    """One clip, its bytes as they lie in the part."""

    record: ClipRecord
    arrays: Sequence[np.ndarray]
    intact: bool
    """Its bytes are there and match their checksum."""


def part_clips(
    root: Place, name: str, manifest: Manifest, index: pa.Table, rows: Iterable[int] | None = None
) -> Iterator[StoredClip]:
    """Read clips of a part, in the order of `rows`.

    A compressed file is given to its format's library only when its digest is right: if it is
    not, none of the part's clips counts as intact.

    Args:
        root: the store's folder.
        name: the part's.
        manifest: of the store.
        index: the part's index.
        rows: which; None: all.

    Raises:
        FileNotFoundError: a file of tokens or scales is missing.
    """
    folder = root / PARTS / name
    sources: list[_Source] = []
    for array in layout_of(manifest.spec).arrays:
        offsets = numbers(index[offset_column(array)])
        if offsets.size and offsets.min() < 0:
            sources.append(_Packed(root, name, manifest, array))
        else:
            file = array_file(manifest.format, array)
            sources.append(_Plain(open_source(folder, file), array, offsets))
    try:
        origins = read_sources(root, name)
    except DamagedStore:  # verify says so; the tokens do not need them
        origins = {}
    for row in range(index.num_rows) if rows is None else rows:
        (cells,) = index.slice(row, 1).to_pylist()
        found = [source.clip(row) for source in sources]
        arrays = [array for array in found if array is not None]
        intact = len(arrays) == len(found) and clip_checksum(arrays) == cells["crc32c"]
        record = replace(record_of(cells), origin=origins.get(row))
        yield StoredClip(record, arrays, intact)


def intact_clips(
    root: Place, name: str, manifest: Manifest, index: pa.Table, rows: Iterable[int]
) -> Iterator[StoredClip]:
    """The same, for copying: a damaged clip is an error, never a copy.

    Raises:
        DamagedStore: a clip's bytes do not match its checksum, or the record of the sources is
            damaged.
    """
    read_sources(root, name)
    for clip in part_clips(root, name, manifest, index, rows):
        if not clip.intact:
            raise DamagedStore(
                f"{root / PARTS / name}: clip {clip.record.id!r} does not match its checksum; run "
                "stepcli store repair, then this again"
            )
        yield clip


class _Source(Protocol):
    """Where one array of a part's clips comes from."""

    def clip(self, row: int) -> np.ndarray | None:
        """The array of one clip; None where there is none to be had."""


class _Plain:
    """Byte ranges of a file or an object."""

    def __init__(
        self, file: OpenFile | OpenObject, array: ArrayLayout, offsets: np.ndarray
    ) -> None:
        self._file = file
        self._array = array
        self._offsets = offsets

    def clip(self, row: int) -> np.ndarray | None:
        offset = int(self._offsets[row])
        if offset + self._array.clip_bytes > self._file.size:
            return None
        values = np.empty(self._array.clip_shape, self._array.dtype)
        self._file.read_into(values.data.cast("B"), offset)
        return values


class _Packed:
    """Compressed tokens, through the format's library."""

    def __init__(self, root: Place, name: str, manifest: Manifest, array: ArrayLayout) -> None:
        record = read_part_record(root, name)
        folder = root / PARTS / name
        file = array_file(manifest.format, array)
        self._array = array
        self._tokens: PackedTokens | None = None
        if file in record.files and not wrong_file(folder / file, record.files[file]):
            self._tokens = open_packed(folder, manifest.format, layout_of(manifest.spec), record)

    def clip(self, row: int) -> np.ndarray | None:
        if self._tokens is None:
            return None
        values = np.empty(self._array.clip_shape, self._array.dtype)
        try:
            self._tokens.read_row(row, values)
        except DamagedStore:
            return None
        return values
