"""Byte ranges of files, copied into a caller's memory without any format library.

Read with pread, not through a map: a file that is cut short under an open reader then gives a
short read, which is an error message, where a map gives SIGBUS, which is a dead process. Measured
beside np.memmap it costs nothing (docs/maintainers/decisions/010-reads-use-pread.md).
"""

import errno
import os
import resource
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from stepcli.cache.storage.handles import ClipSource
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.files import open_beneath, reading

SHARED_BYTES = 8 << 20
"""Smallest read, in bytes, that is worth the work of several threads."""
PIECE_BYTES = 4 << 20
READ_THREADS = 4
"""At most; never more than the process may use cores."""


class OpenFile:
    """A file descriptor that closes when the last user lets go of it."""

    def __init__(self, folder: Path, relative: str) -> None:
        self.path = folder / relative
        try:
            self._fd = open_beneath(folder, relative)
        except FileNotFoundError as error:
            raise FileNotFoundError(error.errno, error.strerror, str(self.path)) from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise DamagedStore(f"{self.path}: a link; expected a plain file") from None
            with reading(self.path):
                raise
        self.size = os.fstat(self._fd).st_size

    def require(self, size: int) -> None:
        """Raise DamagedStore unless the file had at least `size` bytes when it was opened."""
        if self.size < size:
            raise self._too_short(size)

    def _too_short(self, wanted: int) -> DamagedStore:
        size = os.fstat(self._fd).st_size
        return DamagedStore(
            f"{self.path}: ends at byte {size}, expected at least {wanted}; run stepcli store "
            "verify"
        )

    def read_into(self, target: memoryview, offset: int) -> None:
        """Fill `target` (bytes, contiguous) from byte `offset` on.

        Raises:
            DamagedStore: the file ends before.
        """
        wanted, done = len(target), 0
        while done < wanted:  # signals and network file systems may cut a read short
            with reading(self.path):
                count = os.preadv(self._fd, [target[done:]], offset + done)
            if count == 0:
                raise self._too_short(offset + wanted)
            done += count

    def read(self, length: int, offset: int) -> memoryview:
        """See `RangeFile`."""
        self.require(offset + length)
        target = np.empty(length, np.uint8).data
        self.read_into(target, offset)
        return target

    def __del__(self) -> None:
        fd = getattr(self, "_fd", None)
        if fd is not None:
            os.close(fd)


class FilePool:
    """Files kept open between reads, the least recently used dropped first. Thread-safe.

    Reads carry their own position, so threads and forked children may share a file. A file that
    is dropped while another thread reads it closes when that read is over.
    """

    def __init__(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = 64 if soft == resource.RLIM_INFINITY else max(8, min(1024, soft // 4))
        self._files: OrderedDict[tuple[str, str], OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        _POOLS.add(self)

    def get(self, root: Path, folder: str, relative: str) -> OpenFile:
        """The open file in a folder of the pool's only root; FileNotFoundError when it is gone."""
        key = (folder, relative)
        with self._lock:
            file = self._files.get(key)
            if file is not None:
                self._files.move_to_end(key)
                return file
        file = OpenFile(root / folder, relative)
        with self._lock:
            self._files[key] = file
            if len(self._files) > self._most:
                self._files.popitem(last=False)
        return file

    def clear(self) -> None:
        """Forget all files."""
        with self._lock:
            self._files.clear()

    def renew_lock(self) -> None:
        """Replace the lock, which a thread that a fork left behind may have held."""
        self._lock = threading.Lock()


Piece = tuple[OpenFile, int, int, int]
"""A file, the byte offset in it, and the bytes [start, end) of the buffer that come from there."""


def read_pieces(pieces: Sequence[Piece], target: memoryview) -> None:
    """Fill a buffer (bytes, contiguous); large ones by several threads: pread frees Python's lock.

    Raises:
        DamagedStore: a file ends before.
    """
    threads = _threads() if len(target) >= SHARED_BYTES else 1
    if threads == 1:
        _read_share(pieces, target)
        return
    small = [part for piece in pieces for part in _cut(piece)]
    pool = _workers(threads - 1)
    others = [pool.submit(_read_share, small[n::threads], target) for n in range(1, threads)]
    try:
        _read_share(small[::threads], target)
    finally:
        errors = [other.exception() for other in others]  # no thread writes to `target` after this
    for error in errors:
        if error is not None:
            raise error


def _read_share(pieces: Sequence[Piece], target: memoryview) -> None:
    for file, offset, start, end in pieces:
        file.read_into(target[start:end], offset)


def _cut(piece: Piece) -> list[Piece]:
    file, offset, start, end = piece
    return [
        (file, offset + at - start, at, min(at + PIECE_BYTES, end))
        for at in range(start, end, PIECE_BYTES)
    ]


def _threads() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return min(READ_THREADS, len(os.sched_getaffinity(0)))
    return min(READ_THREADS, os.cpu_count() or 1)


def _workers(count: int) -> ThreadPoolExecutor:
    with _SHARED.lock:
        if _SHARED.workers is None:
            _SHARED.workers = ThreadPoolExecutor(count, "stepcli-read")
        return _SHARED.workers


class _Shared:
    """What all reads of this process have in common."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """As in a new process: a forked child has none of its parent's threads."""
        self.lock = threading.Lock()
        self.workers: ThreadPoolExecutor | None = None


_SHARED = _Shared()
_POOLS: "weakref.WeakSet[FilePool]" = weakref.WeakSet()


def _after_fork() -> None:
    """A child's locks may be held by a thread that it does not have."""
    _SHARED.renew()
    for pool in _POOLS:
        pool.renew_lock()


os.register_at_fork(after_in_child=_after_fork)


class FileClips(ClipSource):
    """See `ClipSource`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = FilePool()

    def read(
        self,
        folders: Sequence[str],
        file: str,
        which: np.ndarray,
        offsets: np.ndarray,
        size: int,
        buffer: Callable[[], memoryview],
    ) -> None:
        """See `ClipSource`."""
        files: dict[int, OpenFile] = {}
        pieces: list[Piece] = []
        for folder, offset, start, end in _runs(which, offsets, size):
            opened = files.get(folder)
            if opened is None:
                opened = files[folder] = self._files.get(self._root, folders[folder], file)
            opened.require(offset + (end - start) * size)
            pieces.append((opened, offset, start * size, end * size))
        read_pieces(pieces, buffer())

    def forget(self) -> None:
        """See `ClipSource`."""
        self._files.clear()


def _runs(which: np.ndarray, offsets: np.ndarray, size: int) -> Iterator[tuple[int, int, int, int]]:
    """Ranges that lie one behind the other are one read: (folder, offset, first, past the last)."""
    if len(which) == 1:
        return iter([(int(which[0]), int(offsets[0]), 0, 1)])
    apart = (which[1:] != which[:-1]) | (offsets[1:] - offsets[:-1] != size)
    starts = [0, *(np.flatnonzero(apart) + 1).tolist()]
    ends = [*starts[1:], len(which)]
    return zip(which[starts].tolist(), offsets[starts].tolist(), starts, ends, strict=True)
