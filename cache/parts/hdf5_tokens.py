"""Tokens as one contiguous HDF5 dataset.

`tokens.h5` holds a dataset `tokens` [n, T, S, D] (or [n, L, T, S, D]), contiguous, uncompressed,
little-endian: a clip is one range of bytes. libhdf5 writes no token: it lays out an empty file of
the same shape (a sparse template in memory, of a few KB) whose dataset lies where the clips have
been streamed to, and the bytes around the dataset are copied from it. Scales of int8 tokens are
small datasets behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from stepcli.cache.parts.raw_file import SparseFile
from stepcli.cache.parts.stream import FinishedFiles, SideArrays, TokenStream, row_offsets
from stepcli.cache.schema.layout import ArrayLayout, TokenLayout
from stepcli.runtime.errors import StoreError

FILE = "tokens.h5"
ALIGNMENT = 4096
"""Bytes: metadata blocks and datasets start at multiples of this, whatever their size."""


def array_file(array: ArrayLayout) -> str:
    """Path, below the part's folder, of the file with an array's bytes."""
    return FILE


class Hdf5TokenWriter:
    """Streams the clips of one part; libhdf5's metadata is added around them at the end."""

    def __init__(self, part: Path, layout: TokenLayout, planned_clips: int) -> None:
        self._part = part
        self._layout = layout
        self._side = SideArrays(layout)
        # A part that closes as full as planned has the very head guessed here, so that its
        # digest can be taken while it is written. Where the dataset lies is the same for any.
        self._guess = _lay_out(layout, planned_clips, []).head
        self._stream = TokenStream(part / FILE, self._guess)

    def write(self, row: int, arrays: Sequence[np.ndarray]) -> None:
        """Write a clip: its arrays as stored, C order, in the layout's order."""
        self._stream.write(arrays[0].data, row * self._layout.tokens.clip_bytes)
        self._side.write(row, arrays[1:])

    def finish(self, clips: int) -> FinishedFiles:
        """Complete the file for the first `clips` clips."""
        template = _lay_out(self._layout, clips, self._side.contents(clips))
        if len(template.head) != len(self._guess):
            raise StoreError(
                f"libhdf5 {h5py.version.hdf5_version} puts the dataset of {clips} clips at byte "
                f"{len(template.head)}, expected {len(self._guess)}; use --format zarr"
            )
        body = clips * self._layout.tokens.clip_bytes
        record = self._stream.finish(body, template.tail, template.head)
        self._require_readable(clips, template.offsets)
        offsets = {
            array.name: row_offsets(template.offsets[array.name], clips, array)
            for array in self._layout.arrays
        }
        return FinishedFiles({FILE: record}, offsets)

    def _require_readable(self, clips: int, offsets: dict[str, int]) -> None:
        """libhdf5 must see in the file what was meant: it wrote the template, not the file."""
        with h5py.File(self._part / FILE, "r") as file:
            for array in self._layout.arrays:
                dataset = file[array.name]
                found = (dataset.shape, dataset.dtype, dataset.id.get_offset())
                meant = ((clips, *array.clip_shape), array.dtype, offsets[array.name])
                if found != meant:
                    raise StoreError(f"{self._part / FILE}: holds {found}, meant was {meant}")

    def close(self) -> None:
        """Close open files without completing them."""
        self._stream.close()


@dataclass(frozen=True)
class _Template:
    head: bytes
    """Before the tokens."""
    tail: bytes
    """Behind the tokens."""
    offsets: dict[str, int]
    """First byte of each dataset."""


def _lay_out(
    layout: TokenLayout, clips: int, side_contents: list[tuple[ArrayLayout, bytes]]
) -> _Template:
    """What libhdf5 writes around a dataset of so many clips.

    It writes into memory: where a disk refuses, it would end the process when it closes the file.
    """
    template = SparseFile()
    with h5py.File(template, "w", alignment_threshold=1, alignment_interval=ALIGNMENT) as file:
        datasets = {array.name: create_dataset(file, array, clips) for array in layout.arrays}
        for array, data in side_contents:
            values = np.frombuffer(data, array.dtype)
            datasets[array.name][...] = values.reshape(clips, *array.clip_shape)
        offsets = {name: dataset.id.get_offset() for name, dataset in datasets.items()}
    first = offsets[layout.tokens.name]
    template.seek(0)
    head = template.read(first)
    template.seek(first + clips * layout.tokens.clip_bytes)
    return _Template(head or b"", template.read() or b"", offsets)


def create_dataset(file: h5py.File, array: ArrayLayout, clips: int) -> h5py.Dataset:
    """An empty contiguous dataset for an array of so many clips; its offset is settled."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_layout(h5py.h5d.CONTIGUOUS)
    create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # the offset is settled at once
    create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # and the template stays sparse
    create.set_obj_track_times(False)  # equal stores, equal bytes
    shape = h5py.h5s.create_simple((clips, *array.clip_shape))
    dtype = h5py.h5t.py_create(array.dtype)
    dataset = h5py.Dataset(h5py.h5d.create(file.id, array.name.encode(), dtype, shape, create))
    dataset.attrs["axes"] = ",".join(array.axes)
    for key, text in array.attributes.items():
        dataset.attrs[key] = text
    return dataset
