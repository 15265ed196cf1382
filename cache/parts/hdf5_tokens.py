"""Tokens as one HDF5 dataset, one clip per chunk, written through h5py.

`tokens.h5` holds a dataset `tokens` [n, T, S, D] (or [n, L, T, S, D]), uncompressed, little-endian.
Its chunks are the clips. libhdf5 allocates all of them at once when the dataset is created
(HDF5 1.10's implicit chunk index), so they lie one behind the other and a clip is one range of
bytes. Scales of int8 tokens are small contiguous datasets behind them.
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from stepcli.cache.parts.hashed_file import HashedFile
from stepcli.cache.parts.hdf5_file import Hdf5File
from stepcli.cache.parts.interrupts import uninterrupted
from stepcli.cache.parts.token_files import HDF5_FILE
from stepcli.cache.parts.token_writer import FinishedFiles, SideArrays, row_offsets
from stepcli.cache.schema.part_layout import TOKENS, ArrayLayout, PartLayout
from stepcli.runtime.errors import StoreError

ALIGNMENT = 4096
"""Bytes: headers and datasets begin at multiples of this, so the first clip does for any n."""
LIBRARY_VERSIONS = ("v110", "v110")
"""HDF5 1.10 and later read the file."""


class Hdf5TokenWriter:
    """Writes the clips of one part as chunks, between a head and a tail that h5py has laid out.

    The head is written first, for as many clips as planned, so that the file can be hashed while
    it is written. A part with fewer clips gets another head at the end.
    """

    def __init__(self, part: Path, layout: PartLayout, planned_clips: int) -> None:
        self._path = part / HDF5_FILE
        self._layout = layout
        self._side = SideArrays(layout)
        self._disk = HashedFile(self._path)
        try:
            with uninterrupted():
                self._begin(planned_clips)
        except BaseException:
            self._disk.close()
            raise

    def _begin(self, clips: int) -> None:
        self._laid_out = _lay_out(self._layout, clips, [])
        self._first = self._laid_out.start
        self._disk.write_at(memoryview(self._laid_out.head()), 0)
        self._laid_out.write_through(self._disk)
        self._file = h5py.File(self._laid_out, "r+", libver=LIBRARY_VERSIONS)
        self._chunks = self._file[self._layout.tokens.name].id

    def write(self, row: int, arrays: Sequence[np.ndarray]) -> None:
        """Write a clip: its arrays as stored, C order, in the layout's order."""
        tokens = self._layout.tokens
        with uninterrupted():  # an exception must not pass through libhdf5
            self._chunks.write_direct_chunk((row, *(0 for _ in tokens.clip_shape)), arrays[0])
            self._laid_out.raise_error()
            self._disk.settle(self._first + (row + 1) * tokens.clip_bytes)
        self._side.write(row, arrays[1:])

    def finish(self, clips: int) -> FinishedFiles:
        """Complete the file for the first `clips` clips."""
        self._file.close()
        final = _lay_out(self._layout, clips, self._side.contents(clips))
        if final.start != self._first:
            raise StoreError(
                f"libhdf5 {h5py.version.hdf5_version} puts the first of {clips} clips at byte "
                f"{final.start}, expected {self._first}; use --format zarr"
            )
        self._disk.write_at(memoryview(final.head()), 0)
        self._disk.write_at(memoryview(final.tail()), final.end)
        record = self._disk.finish(final.end + len(final.tail()))
        return FinishedFiles({HDF5_FILE: record}, self._offsets(clips))

    def _offsets(self, clips: int) -> dict[str, np.ndarray]:
        """Where each array's clips lie, as libhdf5 finds them in the finished file."""
        offsets = {}
        with h5py.File(self._path, "r") as file:
            for array in self._layout.arrays:
                dataset = file[array.name]
                found = (dataset.shape, dataset.dtype)
                expected = ((clips, *array.clip_shape), array.dtype)
                if found != expected:
                    raise StoreError(f"{self._path}: expected {expected}, found {found}")
                if array is self._layout.tokens:
                    offsets[array.name] = chunk_offsets(dataset)
                else:
                    offsets[array.name] = row_offsets(dataset.id.get_offset(), clips, array)
        return offsets

    def close(self) -> None:
        """Close open files without completing them."""
        self._file.close()
        self._disk.close()


def chunk_offsets(dataset: h5py.Dataset) -> np.ndarray:
    """First byte of each chunk of a dataset that is chunked along its first axis alone: [n]."""
    offsets = np.full(len(dataset), -1, np.int64)

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        offsets[chunk.chunk_offset[0]] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    return offsets


def _lay_out(
    layout: PartLayout, clips: int, side_contents: list[tuple[ArrayLayout, bytes]]
) -> Hdf5File:
    """Let h5py make the file, in memory, for that number of clips, without their chunks."""
    made = Hdf5File()
    with h5py.File(
        made,
        "w",
        libver=LIBRARY_VERSIONS,
        alignment_threshold=1,
        alignment_interval=ALIGNMENT,
    ) as file:
        datasets = {array.name: _create_dataset(file, array, clips) for array in layout.arrays}
        for array, data in side_contents:
            values = np.frombuffer(data, array.dtype)
            datasets[array.name][...] = values.reshape(clips, *array.clip_shape)
        tokens = datasets[layout.tokens.name]
        made.start = tokens.id.get_chunk_info_by_coord((0,) * tokens.ndim).byte_offset
    made.end = made.start + clips * layout.tokens.clip_bytes
    return made


def _create_dataset(file: h5py.File, array: ArrayLayout, clips: int) -> h5py.Dataset:
    """An empty dataset for an array of `clips` clips; all of its bytes are allocated."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if array.name == TOKENS:
        create.set_chunk((1, *array.clip_shape))
    create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    create.set_obj_track_times(False)  # equal stores, equal bytes
    shape = h5py.h5s.create_simple((clips, *array.clip_shape))
    dtype = h5py.h5t.py_create(array.dtype)
    dataset = h5py.Dataset(h5py.h5d.create(file.id, array.name.encode(), dtype, shape, create))
    dataset.attrs["axes"] = ",".join(array.axes)
    dataset.attrs.update(array.attributes)
    return dataset
