"""Tokens on their way into a file: one sequential pass, never a part in memory."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from stepcli.cache.parts.file_record import FileRecord, hash_file
from stepcli.cache.schema.layout import ArrayLayout, TokenLayout

FLUSH_BYTES = 16 << 20
"""So much is written before the disk is asked to begin with it."""


class TokenStream:
    """A file whose body is raw clips, written in order behind a head.

    A second thread hashes each clip while it is written. When the head turns out otherwise than
    guessed, or an interrupted write was done again, the file is hashed once more at the end.
    """

    def __init__(self, path: Path, guessed_head: bytes = b"") -> None:
        self.path = path
        self._file = path.open("xb", buffering=0)
        self._head = guessed_head
        self._write_at(memoryview(guessed_head), 0)
        self._written = self._flushed = len(guessed_head)
        self._digest = hashlib.sha256(guessed_head)
        self._digest_valid = True
        self._hasher = ThreadPoolExecutor(1)

    def write(self, data: memoryview, offset: int) -> None:
        """Write a clip at a byte offset of the body; in order, or over one that was torn."""
        start = len(self._head) + offset
        valid, self._digest_valid = self._digest_valid and start == self._written, False
        hashing = self._hasher.submit(self._digest.update, data)
        self._write_at(data, start)
        hashing.result()
        self._written = start + data.nbytes
        self._digest_valid = valid
        if self._written - self._flushed >= FLUSH_BYTES:
            self._begin_writeback()

    def finish(self, body_bytes: int, tail: bytes, head: bytes = b"") -> FileRecord:
        """Cut the body where the last whole clip ends, add what surrounds it, make it durable.

        Args:
            body_bytes: of the clips to keep.
            tail: bytes to put behind them.
            head: bytes to put before them, as many as guessed.
        """
        end = len(self._head) + body_bytes
        followed = self._digest_valid and head == self._head and end == self._written
        self._file.truncate(end)
        self._write_at(memoryview(tail), end)
        self._write_at(memoryview(head), 0)
        if followed:
            os.fsync(self._file.fileno())
            self._digest.update(tail)
            record = FileRecord(size=end + len(tail), sha256=self._digest.hexdigest())
        else:
            hashing = self._hasher.submit(hash_file, self.path)
            os.fsync(self._file.fileno())  # the disk works while the processor hashes
            record = hashing.result()
        self.close()
        return record

    def close(self) -> None:
        """Close the file as it is."""
        self._hasher.shutdown()
        self._file.close()

    def _begin_writeback(self) -> None:
        """Let the disk work while clips are still coming: the fsync at the end is then short."""
        if hasattr(os, "posix_fadvise"):  # not on macOS
            length = self._written - self._flushed
            # Linux starts to write dirty pages on this advice, and keeps them until they are clean.
            os.posix_fadvise(self._file.fileno(), self._flushed, length, os.POSIX_FADV_DONTNEED)
        self._flushed = self._written

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
