"""The clips of one part, straight from its files, each checked against its checksum.

What copies or checks clips reads them here; what serves probes reads in `clip_reader.py`.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import pyarrow as pa

from stepcli.cache.parts.commit import PARTS, read_part_record
from stepcli.cache.parts.compressed import read_compressed
from stepcli.cache.parts.files import wrong_file
from stepcli.cache.parts.index import COMPRESSED, offset_column, record_of
from stepcli.cache.parts.open_part import clip_checksum
from stepcli.cache.parts.record import PartRecord
from stepcli.cache.parts.sources import read_sources
from stepcli.cache.parts.token_files import array_file
from stepcli.cache.schema.clips import ClipRecord
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.schema.part_layout import ArrayLayout, part_layout
from stepcli.cache.storage.file_reader import OpenFile
from stepcli.cache.storage.handles import RangeFile
from stepcli.cache.storage.local import LocalPath
from stepcli.cache.storage.path import StoragePath
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.parquet_tables import numbers


@dataclass(frozen=True)
class StoredClip:
    """One clip, its bytes as stored in the part."""

    record: ClipRecord
    arrays: Sequence[np.ndarray]
    intact: bool
    """Its bytes are there and match their checksum."""


def part_clips(
    root: StoragePath,
    name: str,
    manifest: Manifest,
    index: pa.Table,
    rows: Iterable[int] | None = None,
) -> Generator[StoredClip, None, None]:
    """Read clips of a part, in the order of `rows`; close it, which closes the part's files.

    Of a compressed file (written by an earlier version) whose digest is wrong, no clip counts as
    intact.

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
    with ExitStack() as copies:
        for array in part_layout(manifest.spec).arrays:
            offsets = numbers(index[offset_column(array)])
            file = array_file(manifest.format, array)
            if offsets.size and offsets.min() == COMPRESSED:
                local = _local_folder(folder, file, copies)
                sources.append(_Compressed(local, file, array, read_part_record(root, name)))
            else:
                sources.append(_Plain(folder.open_ranges(file), array, offsets))
        try:
            origins = read_sources(root, name)
        except DamagedStore:  # reported by verify; the tokens do not need them
            origins = {}
        for row in range(index.num_rows) if rows is None else rows:
            (cells,) = index.slice(row, 1).to_pylist()
            found = [source.clip(row) for source in sources]
            arrays = [array for array in found if array is not None]
            intact = len(arrays) == len(found) and clip_checksum(arrays) == cells["crc32c"]
            record = replace(record_of(cells), origin=origins.get(row))
            yield StoredClip(record, arrays, intact)


def _local_folder(folder: StoragePath, file: str, copies: ExitStack) -> LocalPath:
    """A part's folder, or a temporary copy of one file of it if that is not on this disk."""
    if folder.local is not None:
        return LocalPath(folder.local)
    copy = LocalPath(copies.enter_context(TemporaryDirectory(prefix="compressed-part-")))
    (folder / file).download(copy / file)
    return copy


def intact_clips(
    root: StoragePath, name: str, manifest: Manifest, index: pa.Table, rows: Iterable[int]
) -> Generator[StoredClip, None, None]:
    """The same, for copying: a damaged clip is an error, never a copy.

    Raises:
        DamagedStore: a clip's bytes do not match its checksum, or the record of the sources is
            damaged.
    """
    read_sources(root, name)
    with closing(part_clips(root, name, manifest, index, rows)) as clips:
        for clip in clips:
            if not clip.intact:
                raise DamagedStore(
                    f"{root / PARTS / name}: clip {clip.record.id!r} does not match its checksum; "
                    "run stepcli store repair, then this again"
                )
            yield clip


class _Source(Protocol):
    """Where one array of a part's clips comes from."""

    def clip(self, row: int) -> np.ndarray | None:
        """The array of one clip; None if unavailable."""


class _Plain:
    """Byte ranges of a file or an object."""

    def __init__(self, file: RangeFile, array: ArrayLayout, offsets: np.ndarray) -> None:
        self._file = file
        self._array = array
        self._offsets = offsets

    def clip(self, row: int) -> np.ndarray | None:
        try:
            data = self._file.read(self._array.clip_bytes, int(self._offsets[row]))
        except DamagedStore:
            return None
        return np.frombuffer(data, self._array.dtype).reshape(self._array.clip_shape)


class _Compressed:
    """A compressed file on a disk, opened only when its digest is right."""

    def __init__(
        self, folder: LocalPath, file: str, array: ArrayLayout, record: PartRecord
    ) -> None:
        known = record.files.get(file)
        intact = known is not None and not wrong_file(folder / file, known)
        self._file = OpenFile(folder, file) if intact else None
        self._array = array
        self._record = record

    def clip(self, row: int) -> np.ndarray | None:
        if self._file is None:
            return None
        try:
            return read_compressed(self._file, self._array, self._record, row)
        except DamagedStore:
            return None
