"""Tokens on their way into a file: one sequential pass, never a part in memory."""

import errno
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from stepcli.cache.part_record import FileRecord
from stepcli.cache.token_layout import ArrayLayout, TokenLayout

FOLLOW_BYTES = 8 << 20
"""So much is written before the hashing thread is woken."""
HASH_BLOCK = 1 << 20
NEVER = 1 << 62
"""Stands for "hashed so far" once that is of no use any more."""


class TokenStream:
    """A file whose body is raw clips, written in order behind a head.

    A thread follows the writer and hashes what is in the file already, from the page cache. When
    the head turns out otherwise than guessed, or an interrupted write was done again, that work is
    thrown away and the file hashed once more.
    """

    def __init__(self, path: Path, guessed_head: bytes = b"") -> None:
        self.path = path
        self._file = path.open("x+b", buffering=0)
        self._head = guessed_head
        self._write_at(memoryview(guessed_head), 0)
        self._written = len(guessed_head)
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._follower = ThreadPoolExecutor(1)
        self._following: Future[None] | None = None

    def write(self, data: memoryview, offset: int) -> None:
        """Write a clip at a byte offset of the body; in order, or over one that was torn."""
        start = len(self._head) + offset
        if start < self._written:  # an interrupt tore this clip's first write
            if self._following is not None:
                self._following.result()
            if start < self._hashed:
                self._hashed = NEVER
        self._write_at(data, start)
        self._written = start + data.nbytes
        idle = self._following is None or self._following.done()
        if idle and self._written - self._hashed >= FOLLOW_BYTES:
            self._following = self._follower.submit(self._hash_until, self._written)

    def finish(self, body_bytes: int, tail: bytes, head: bytes = b"") -> FileRecord:
        """Cut the body where the last whole clip ends, add what surrounds it, make it durable.

        Args:
            body_bytes: of the clips to keep.
            tail: bytes to put behind them.
            head: bytes to put before them, as many as guessed.
        """
        end = len(self._head) + body_bytes
        if self._following is not None:
            self._following.result()
        if head != self._head or end < self._hashed:
            self._hashed = NEVER
        self._file.truncate(end)
        self._write_at(memoryview(tail), end)
        self._write_at(memoryview(head), 0)
        size = end + len(tail)
        if self._hashed == NEVER:
            self._digest, self._hashed = hashlib.sha256(), 0
        hashing = self._follower.submit(self._hash_until, size)
        os.fsync(self._file.fileno())  # the disk works while the processor hashes
        hashing.result()
        self.close()
        return FileRecord(size=size, sha256=self._digest.hexdigest())

    def close(self) -> None:
        """Close the file as it is."""
        self._follower.shutdown()
        self._file.close()

    def _hash_until(self, end: int) -> None:
        block = memoryview(bytearray(HASH_BLOCK))
        while self._hashed < end:
            wanted = block[: min(HASH_BLOCK, end - self._hashed)]
            count = os.preadv(self._file.fileno(), [wanted], self._hashed)
            if count == 0:
                raise OSError(errno.EIO, "cut short while it was written", str(self.path))
            self._digest.update(wanted[:count])
            self._hashed += count

    def _write_at(self, data: memoryview, offset: int) -> None:
        flat = data.cast("B")
        done = 0
        while done < flat.nbytes:
            done += os.pwrite(self._file.fileno(), flat[done:], offset + done)


@dataclass(frozen=True)
class FinishedFiles:
    """What a token writer leaves behind."""

    files: dict[str, FileRecord]
    """By path below the part's folder."""
    offsets: dict[str, np.ndarray]
    """[clips] int64 by array: byte offset of each clip in that array's file."""


class TokenWriter(Protocol):
    """What both formats offer for writing the arrays of one part."""

    def write(self, row: int, arrays: Sequence[np.ndarray]) -> None:
        """Write a clip: its arrays as stored, C order, in the layout's order.

        Rows come in order; one that an interrupt tore comes again.
        """

    def finish(self, clips: int) -> FinishedFiles:
        """Complete the files for the first `clips` clips."""

    def close(self) -> None:
        """Close open files without completing them."""


class SideArrays:
    """Scales of the clips so far: small beside the tokens, kept in memory until the part closes."""

    def __init__(self, layout: TokenLayout) -> None:
        self._layout = layout
        self._clips: list[tuple[bytes, ...]] = []

    def write(self, row: int, arrays: Sequence[np.ndarray]) -> None:
        """Take a clip's side arrays, in the layout's order."""
        del self._clips[row:]
        self._clips.append(tuple(array.tobytes() for array in arrays))

    def contents(self, clips: int) -> list[tuple[ArrayLayout, bytes]]:
        """Each side array's bytes for the first `clips` clips."""
        return [
            (array, b"".join(clip[number] for clip in self._clips[:clips]))
            for number, array in enumerate(self._layout.side_arrays)
        ]


def row_offsets(first: int, clips: int, array: ArrayLayout) -> np.ndarray:
    """Byte offset of each clip of an array whose clips lie one behind the other."""
    return first + np.arange(clips, dtype=np.int64) * array.clip_bytes
