"""Tokens on their way into a file: one sequential pass, digest kept, never a part in memory."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from stepcli.cache.parts import FileRecord, hash_file
from stepcli.cache.token_layout import ArrayLayout, TokenLayout


class TokenStream:
    """A file whose body is raw clips, appended in order after `head` reserved bytes.

    The digest is kept while writing. Should the head turn out otherwise than guessed, or should
    an interrupt tear an append, the file is read once more to make the digest anew.
    """

    def __init__(self, path: Path, guessed_head: bytes = b"") -> None:
        self.path = path
        self._file = path.open("xb", buffering=0)
        self._digest = hashlib.sha256(guessed_head)
        self._head = guessed_head
        self._body_end = len(guessed_head)
        self._digest_valid = True
        if guessed_head:
            self._write_at(memoryview(guessed_head), 0)

    def append(self, data: memoryview, offset: int) -> None:
        """Write one clip where the last whole one ends; over one that an interrupt tore."""
        valid = self._digest_valid and offset == self._body_end
        self._digest_valid = False
        self._write_at(data, offset)
        self._digest.update(data)
        self._body_end = offset + data.nbytes
        self._digest_valid = valid

    def finish(self, body_end: int, tail: bytes, head: bytes | None = None) -> FileRecord:
        """Cut the body where the last whole clip ends, add what follows it, close.

        Args:
            body_end: byte offset just behind the last clip to keep.
            tail: bytes to put there.
            head: the head as it must be, when it may differ from the guess.
        """
        if head is not None and head != self._head:
            self._write_at(memoryview(head), 0)
            self._digest_valid = False
        if body_end != self._body_end:
            self._digest_valid = False
        self._file.truncate(body_end)
        self._write_at(memoryview(tail), body_end)
        self._file.close()
        if not self._digest_valid:
            return hash_file(self.path)
        self._digest.update(tail)
        return FileRecord(size=body_end + len(tail), sha256=self._digest.hexdigest())

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
