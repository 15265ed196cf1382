"""The Python object that h5py takes for the file it writes: metadata in memory, clips on disk."""

import io
import os
from typing import Any

from stepcli.cache.parts.hashed_file import HashedFile


class Hdf5File(io.RawIOBase):
    """A file in memory without its clips, which go to a file on a disk as they are added.

    libhdf5 ends the process (SIGSEGV, h5py 3.16) when a file is closed after the disk refused a
    write. So what the disk refuses is no error for libhdf5: the writer asks by `raise_error`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = self.end = 0
        """Where the clips begin and end: bytes that are not kept in memory."""
        self._at = 0
        self._size = 0
        self._pieces: list[tuple[int, bytes]] = []
        self._disk: HashedFile | None = None
        self._process = os.getpid()
        self._error: OSError | None = None

    def write_through(self, disk: HashedFile) -> None:
        """Send the clips, from now on, to a file."""
        self._disk = disk

    def raise_error(self) -> None:
        """Raise what the disk said when it refused a clip."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def head(self) -> bytes:
        """Bytes before the clips."""
        return self._read(0, self.start)

    def tail(self) -> bytes:
        """Bytes behind the clips."""
        return self._read(self.end, self._size)

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; beyond the end is allowed."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def truncate(self, size: int | None = None) -> int:
        """Set the size; libhdf5 does so when it has reserved room."""
        self._size = self._at if size is None else size
        return self._size

    def write(self, data: Any) -> int:
        """Write at the position."""
        view = memoryview(data).cast("B")
        if self.start <= self._at < self.end:
            self._write_clip(view)
        else:
            self._pieces.append((self._at, view.tobytes()))
        self._at += view.nbytes
        self._size = max(self._size, self._at)
        return view.nbytes

    def _write_clip(self, view: memoryview) -> None:
        # A forked child's libhdf5 may write at its exit: the file is not the child's.
        if self._disk is not None and self._process == os.getpid():
            try:
                self._disk.write_at(view, self._at)
            except OSError as error:
                self._error = error

    def readinto(self, buffer: Any) -> int:
        """Read from the position on; zeros where nothing was written."""
        target = memoryview(buffer).cast("B")
        found = self._read(self._at, min(self._size, self._at + target.nbytes))
        target[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _read(self, start: int, end: int) -> bytes:
        found = bytearray(max(0, end - start))
        for offset, data in self._pieces:
            first, last = max(offset, start), min(offset + len(data), end)
            if first < last:
                found[first - start : last - start] = data[first - offset : last - offset]
        return bytes(found)
