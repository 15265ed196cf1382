"""A file that is hashed by a second thread while it is written."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stepcli.cache.parts.file_record import FileRecord, hash_file

SHARE_BYTES = 1 << 20
"""The second thread is told of new bytes once there are as many as this."""
FLUSH_BYTES = 16 << 20
"""The disk is asked to begin with new bytes once there are as many as this."""
BLOCK_BYTES = 256 << 10
"""Hashed at a time: few enough to stay in a core's cache."""


class HashedFile:
    """A new file; its sha256 is taken from the page cache, behind the writes.

    The writer says by `settle` how far the file is final. If bytes before that change after all,
    the whole file is hashed at the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("x+b", buffering=0)
        self._fd = self._file.fileno()
        self._settled = self._told = self._flushed = 0
        self._changed = False
        """Whether bytes have changed that may be hashed already."""
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._block = memoryview(bytearray(BLOCK_BYTES))
        self._thread = ThreadPoolExecutor(1, "stepcli-hash")

    def write_at(self, data: memoryview, offset: int) -> None:
        """Write bytes, contiguous, at an offset."""
        flat = data.cast("B")
        if offset < self._settled:
            if os.pread(self._fd, flat.nbytes, offset) == flat:
                return
            self._changed = True
        done = 0
        while done < flat.nbytes:
            done += os.pwrite(self._fd, flat[done:], offset + done)

    def settle(self, end: int) -> None:
        """Declare all bytes before `end` final: they are hashed, and sent to the disk."""
        self._settled = max(self._settled, end)
        if self._settled - self._told >= SHARE_BYTES:
            self._told = self._settled
            self._thread.submit(self._hash_to, self._settled)
        if self._settled - self._flushed >= FLUSH_BYTES:
            self._begin_writeback()

    def finish(self, size: int) -> FileRecord:
        """Cut the file at `size` bytes, make it durable and close it."""
        os.ftruncate(self._fd, size)
        self._changed |= size < self._settled
        record = self._thread.submit(self._record, size)
        os.fsync(self._fd)
        found = record.result()
        self.close()
        return found

    def close(self) -> None:
        """Close the file as it is."""
        self._thread.shutdown(cancel_futures=True)
        self._file.close()

    def _record(self, size: int) -> FileRecord:
        if not self._changed:
            self._hash_to(size)
            if self._hashed == size:
                return FileRecord(size=size, sha256=self._digest.hexdigest())
        return hash_file(self.path)

    def _hash_to(self, end: int) -> None:
        while self._hashed < end and not self._changed:
            block = self._block[: end - self._hashed]
            count = os.preadv(self._fd, [block], self._hashed)
            if count == 0:  # cut short by somebody else
                return
            self._digest.update(block[:count])
            self._hashed += count

    def _begin_writeback(self) -> None:
        """Let the disk work while clips are still coming: the fsync at the end is then short."""
        if hasattr(os, "posix_fadvise"):  # not on macOS
            length = self._settled - self._flushed
            # Linux starts to write dirty pages on this advice, and keeps them until they are clean.
            os.posix_fadvise(self._fd, self._flushed, length, os.POSIX_FADV_DONTNEED)
        self._flushed = self._settled
