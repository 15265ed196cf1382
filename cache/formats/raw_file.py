"""What libhdf5 needs of a Python object to take it for a file."""

import io


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
