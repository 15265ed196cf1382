"""Tokens on their way into a file: one sequential pass, digest kept, never a part in memory."""

import hashlib
import os
from pathlib import Path
from typing import Protocol

import numpy as np

from stepcli.cache.parts import FileRecord, hash_file


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

    def append(self, data: memoryview) -> int:
        """Write one clip behind the last; returns its byte offset in the file."""
        offset = self._body_end
        valid, self._digest_valid = self._digest_valid, False
        self._write_at(data, offset)
        self._digest.update(data)
        self._body_end = offset + data.nbytes
        self._digest_valid = valid
        return offset

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


class TokenWriter(Protocol):
    """What both formats offer for writing the tokens of one part."""

    def append(self, clip: np.ndarray) -> int:
        """Write a clip (C order, the store's dtype); returns its byte offset."""

    def finish(self, clips: int) -> dict[str, FileRecord]:
        """Complete the files for the first `clips` clips; returns them by path in the part."""

    def close(self) -> None:
        """Close open files without completing them."""
