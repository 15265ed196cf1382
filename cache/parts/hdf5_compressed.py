"""Tokens as one gzipped HDF5 dataset, a chunk a clip, laid out by libhdf5.

libhdf5 ends the process where the disk is full (SIGSEGV when a file is closed after a write that
failed, h5py 3.16). So it writes through `_PatientFile`, which never refuses, and says afterwards.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stepcli.cache.parts.compression import IN_LIBRARY, LEVEL
from stepcli.cache.parts.file_record import hash_file
from stepcli.cache.parts.hdf5_tokens import FILE, create_dataset
from stepcli.cache.parts.raw_file import RawFile, overlay
from stepcli.cache.parts.stream import FinishedFiles, SideArrays, row_offsets
from stepcli.cache.schema.layout import TokenLayout


class CompressedHdf5Writer:
    """Appends clips to a chunked dataset; scales lie uncompressed behind it, as ever."""

    def __init__(self, part: Path, layout: TokenLayout) -> None:
        self._path = part / FILE
        self._layout = layout
        self._side = SideArrays(layout)
        self._disk = _PatientFile(self._path)
        self._file = h5py.File(self._disk, "w")
        tokens = layout.tokens
        self._dataset = self._file.create_dataset(
            tokens.name,
            (0, *tokens.clip_shape),
            tokens.dtype,
            maxshape=(None, *tokens.clip_shape),
            chunks=(1, *tokens.clip_shape),
            compression="gzip",
            compression_opts=LEVEL,
            shuffle=True,
            track_times=False,
        )
        self._dataset.attrs["axes"] = ",".join(tokens.axes)
        self._dataset.attrs.update(tokens.attributes)

    def write(self, row: int, arrays: Sequence[np.ndarray]) -> None:
        """Write a clip: its arrays as stored, C order, in the layout's order."""
        self._dataset.resize(row + 1, axis=0)
        self._dataset[row] = arrays[0]
        self._side.write(row, arrays[1:])
        self._disk.raise_error()

    def finish(self, clips: int) -> FinishedFiles:
        """Complete the file for the first `clips` clips."""
        offsets = {self._layout.tokens.name: np.full(clips, IN_LIBRARY, np.int64)}
        self._dataset.resize(clips, axis=0)
        for array, data in self._side.contents(clips):
            dataset = create_dataset(self._file, array, clips)
            dataset[...] = np.frombuffer(data, array.dtype).reshape(dataset.shape)
            offsets[array.name] = row_offsets(dataset.id.get_offset(), clips, array)
        self.close()
        self._disk.raise_error()
        return FinishedFiles({FILE: hash_file(self._path)}, offsets)

    def close(self) -> None:
        """Close open files without completing them."""
        self._file.close()
        self._disk.close()


class _PatientFile(RawFile):
    """A new file that takes every write; what the disk refused is kept in memory, and told."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._error: OSError | None = None
        self._refused: list[tuple[int, bytes]] = []

    def raise_error(self) -> None:
        """Raise what the disk said when it first refused."""
        if self._error is not None:
            raise OSError(self._error.errno, self._error.strerror)

    def writable(self) -> bool:
        return True

    def truncate(self, size: int | None = None) -> int:
        self._size = self._at if size is None else size
        if self._error is None:
            try:
                os.truncate(self._fd, self._size)
            except OSError as error:
                self._error = error
        return self._size

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < view.nbytes and self._error is None:
            try:
                done += os.pwrite(self._fd, view[done:], self._at + done)
            except OSError as error:
                self._error = error
        if done < view.nbytes:
            self._refused.append((self._at + done, view[done:].tobytes()))
        self._at += view.nbytes
        self._size = max(self._size, self._at)
        return view.nbytes

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        count = max(0, min(target.nbytes, self._size - self._at))
        found = bytearray(os.pread(self._fd, count, self._at).ljust(count, b"\0"))
        overlay(found, self._at, self._refused)
        target[:count] = found
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
