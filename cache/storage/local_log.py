"""The lines of one writer in one file, appended durably."""

import os
from contextlib import suppress
from pathlib import Path

from stepcli.runtime.files import fsync_folder, own_folder


class LocalLog:
    """See `Log`. The file appears with the first line."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / name
        self._fd: int | None = None

    def append(self, line: bytes) -> None:
        """See `Log`."""
        while True:
            if self._fd is None:
                folder = own_folder(self._path.parent.parent, self._path.parent.name, create=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
                self._fd = os.open(self._path, flags, 0o666)
                fsync_folder(folder)
            _append(self._fd, line)
            if self._in_place(self._fd):
                return
            self.close()  # a repair moved the file, perhaps before this line was in it

    def _in_place(self, fd: int) -> bool:
        """Whether the file that is being written is still where readers look for it."""
        try:
            there = os.stat(self._path, follow_symlinks=False)  # noqa: PTH116
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(fd))

    def close(self) -> None:
        """See `Log`."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _append(fd: int, line: bytes) -> None:
    """Append a line wholly and durably, or not at all."""
    size = os.fstat(fd).st_size
    left = memoryview(line)
    try:
        while left:
            left = left[os.write(fd, left) :]
        os.fsync(fd)
    except OSError:
        with suppress(OSError):  # a torn line in the middle would be damage
            os.ftruncate(fd, size)
        raise
