"""Tokens on their way into a file: one sequential pass, never a part in memory."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from stepcli.cache.part_record import FileRecord, hash_file
from stepcli.cache.token_layout import ArrayLayout, TokenLayout


class TokenStream:
    """A file whose body is raw clips, written in order behind `head` reserved bytes.

    Its digest is taken at the end, from the page cache, while the disk is busy with the fsync.
    """

    def __init__(self, path: Path, head: int = 0) -> None:
        self.path = path
        self._file = path.open("xb", buffering=0)
        self._head = head

    def write(self, data: memoryview, offset: int) -> None:
        """Write a clip at a byte offset of the body."""
        self._write_at(data, self._head + offset)

    def finish(self, body_bytes: int, tail: bytes, head: bytes = b"") -> FileRecord:
        """Cut the body where the last whole clip ends, add what surrounds it, make it durable.

        Args:
            body_bytes: of the clips to keep.
            tail: bytes to put behind them.
            head: bytes to put before them.
        """
        end = self._head + body_bytes
        self._file.truncate(end)
        self._write_at(memoryview(tail), end)
        self._write_at(memoryview(head), 0)
        with ThreadPoolExecutor(1) as pool:
            record = pool.submit(hash_file, self.path)
            os.fsync(self._file.fileno())
        self._file.close()
        return record.result()

    def close(self) -> None:
        """Close the file as it is."""
        self._file.close()

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
