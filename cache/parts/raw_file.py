"""What libhdf5 needs of a Python object to take it for a file."""

import io
from collections.abc import Iterable
from typing import Any


class RawFile(io.RawIOBase):
    """A position and a size; who derives from it reads, or writes, at the position."""

    def __init__(self, size: int = 0) -> None:
        self._at = 0
        self._size = size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; beyond the end is allowed."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at


class SparseFile(RawFile):
    """A file in memory that holds what was written to it, and no byte of what was left out."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[tuple[int, bytes]] = []

    def writable(self) -> bool:
        """It is."""
        return True

    def truncate(self, size: int | None = None) -> int:
        """Set the size; libhdf5 does so when it has reserved room."""
        self._size = self._at if size is None else size
        return self._size

    def write(self, data: Any) -> int:
        """Write at the position."""
        content = bytes(memoryview(data).cast("B"))
        self._pieces.append((self._at, content))
        self._at += len(content)
        self._size = max(self._size, self._at)
        return len(content)

    def readinto(self, buffer: Any) -> int:
        """Read from the position on; zeros where nothing was written."""
        target = memoryview(buffer).cast("B")
        count = max(0, min(target.nbytes, self._size - self._at))
        found = bytearray(count)
        overlay(found, self._at, self._pieces)
        target[:count] = found
        self._at += count
        return count


def overlay(found: bytearray, start: int, pieces: Iterable[tuple[int, bytes]]) -> None:
    """Put what lies of the pieces, each an offset and its bytes, over the bytes from `start` on."""
    end = start + len(found)
    for offset, data in pieces:
        first, last = max(offset, start), min(offset + len(data), end)
        if first < last:
            found[first - start : last - start] = data[first - offset : last - offset]
