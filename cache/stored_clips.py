"""The clips of one part, straight from its files, each held against its checksum.

What copies or checks clips reads them here; what serves probes reads in `clip_reader.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stepcli.cache.clips import ClipRecord
from stepcli.cache.durable import Place
from stepcli.cache.errors import DamagedStore
from stepcli.cache.formats import array_file
from stepcli.cache.index import offset_column, record_of
from stepcli.cache.manifest import Manifest
from stepcli.cache.objects import ObjectPath
from stepcli.cache.open_part import clip_checksum
from stepcli.cache.ranges import OpenFile
from stepcli.cache.token_layout import layout_of


@dataclass(frozen=True)
class StoredClip:
    """One clip, its bytes as they lie in the part."""

    record: ClipRecord
    arrays: Sequence[np.ndarray]
    intact: bool
    """Its bytes are there and match their checksum."""


def part_clips(
    folder: Place, manifest: Manifest, index: pa.Table, rows: Iterable[int] | None = None
) -> Iterator[StoredClip]:
    """Read clips of a part, in the order of `rows`.

    Args:
        folder: the part's.
        manifest: of the store.
        index: the part's index.
        rows: which; None: all.

    Raises:
        FileNotFoundError: a file of tokens or scales is missing.
    """
    layout = layout_of(manifest.spec)
    sources = [
        (array, _open(folder, array_file(manifest.format, array)), offset_column(array))
        for array in layout.arrays
    ]
    for row in range(index.num_rows) if rows is None else rows:
        cells = index.slice(row, 1).to_pylist()[0]
        arrays = []
        whole = True
        for array, file, column in sources:
            values = np.empty(array.clip_shape, array.dtype)
            if cells[column] + array.clip_bytes <= file.size:
                file.read_into(values.data.cast("B"), cells[column])
            else:
                whole = False
            arrays.append(values)
        intact = whole and clip_checksum(arrays) == cells["crc32c"]
        yield StoredClip(record_of(cells), arrays, intact)


class _OpenObject:
    """An object, read as `OpenFile` reads a file."""

    def __init__(self, path: ObjectPath) -> None:
        self._path = path
        self.size = path.client.size(path.key)

    def read_into(self, target: memoryview, offset: int) -> None:
        (data,) = self._path.client.get_ranges(self._path.key, [offset], len(target))
        target[:] = memoryview(data).cast("B")


def _open(folder: Place, file: str) -> OpenFile | _OpenObject:
    if isinstance(folder, ObjectPath):
        return _OpenObject(folder / file)
    return OpenFile(folder, file)


def intact_clips(
    folder: Place, manifest: Manifest, index: pa.Table, rows: Iterable[int]
) -> Iterator[StoredClip]:
    """The same, for copying: a damaged clip is an error, never a copy.

    Raises:
        DamagedStore: a clip's bytes do not match its checksum.
    """
    for clip in part_clips(folder, manifest, index, rows):
        if not clip.intact:
            raise DamagedStore(
                f"{folder}: clip {clip.record.id!r} does not match its checksum; run stepcli "
                "store repair, then this again"
            )
        yield clip
