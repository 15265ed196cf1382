"""Tokens as one contiguous HDF5 dataset.

`tokens.h5` holds one dataset `tokens` [n, T, S, D] (or [n, L, T, S, D]), contiguous, uncompressed,
little-endian: a clip is one range of bytes. libhdf5 writes no token: it lays out an empty file of
the same shape (a sparse template, a few KB on disk) whose dataset lies where the clips have been
streamed to, and the bytes around the dataset are copied from it.
"""

import os
import tempfile
from pathlib import Path

import h5py
import numpy as np

from stepcli.cache.errors import StoreError
from stepcli.cache.parts import FileRecord
from stepcli.cache.token_layout import TokenLayout
from stepcli.cache.token_stream import TokenStream

FILE = "tokens.h5"
ALIGNMENT = 4096
"""Bytes: metadata blocks and the dataset start at multiples of this, whatever its size."""


def token_file(layout: TokenLayout) -> str:
    """Path of the file below the part's folder."""
    return FILE


class Hdf5TokenWriter:
    """Streams the clips of one part; libhdf5's metadata is added around them at the end."""

    def __init__(self, part: Path, layout: TokenLayout, planned_clips: int) -> None:
        self._part = part
        self._layout = layout
        # A part that closes as full as planned has the very head guessed here, so that its
        # digest is complete without reading the file again.
        head, _ = _lay_out(part, layout, planned_clips)
        self._offset = len(head)
        self._stream = TokenStream(part / FILE, head)

    def append(self, clip: np.ndarray) -> int:
        """Write a clip (C order, the store's dtype); returns its byte offset."""
        return self._stream.append(clip.data)

    def finish(self, clips: int) -> dict[str, FileRecord]:
        """Complete the file for the first `clips` clips."""
        head, tail = _lay_out(self._part, self._layout, clips)
        if len(head) != self._offset:
            raise StoreError(
                f"libhdf5 {h5py.version.hdf5_version} puts the dataset of {clips} clips at byte "
                f"{len(head)}, expected {self._offset}; use --format zarr and report this"
            )
        end = self._offset + clips * self._layout.clip_bytes
        return {FILE: self._stream.finish(end, tail, head)}

    def close(self) -> None:
        """Close open files without completing them."""
        self._stream.close()


def _lay_out(folder: Path, layout: TokenLayout, clips: int) -> tuple[bytes, bytes]:
    """What libhdf5 writes before and behind a dataset of so many clips."""
    fd, name = tempfile.mkstemp(dir=folder, suffix=".template")
    os.close(fd)
    path = Path(name)
    try:
        with h5py.File(path, "w", alignment_threshold=1, alignment_interval=ALIGNMENT) as file:
            create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            create.set_layout(h5py.h5d.CONTIGUOUS)
            create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # the offset is settled at once
            create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # and the template stays sparse
            create.set_obj_track_times(False)  # equal stores, equal bytes
            dataset = h5py.Dataset(
                h5py.h5d.create(
                    file.id,
                    b"tokens",
                    h5py.h5t.py_create(layout.storage_dtype),
                    h5py.h5s.create_simple((clips, *layout.clip_shape)),
                    create,
                )
            )
            dataset.attrs["axes"] = ",".join(layout.axes)
            for key, text in layout.attributes.items():
                dataset.attrs[key] = text
            offset = dataset.id.get_offset()
        end = offset + clips * layout.clip_bytes
        with path.open("rb") as template:
            head = template.read(offset)
            template.seek(end)
            return head, template.read()
    finally:
        path.unlink()
