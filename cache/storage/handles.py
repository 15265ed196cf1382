"""What the operations of a storage take and return."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

ABSENT = "absent"
"""The digest of a file that does not exist."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a listing says of a file."""

    size: int
    """Bytes."""
    written: float | None
    """Time of writing by the storage's clock, seconds since the epoch; None if not given."""


@dataclass(frozen=True)
class Seen:
    """The content and version of a file when it was read."""

    content: bytes | None
    """None: there was no file."""
    version: Any
    """Differs between any two contents of the file."""

    @property
    def digest(self) -> str:
        """sha256 of the content; `ABSENT` if there was no file."""
        return ABSENT if self.content is None else hashlib.sha256(self.content).hexdigest()


class RangeFile(Protocol):
    """A file opened for reading byte ranges."""

    def read(self, length: int, offset: int) -> memoryview:
        """`length` bytes from byte `offset` on; in object storage one request.

        Nothing is allocated for bytes that are not in the file.

        Raises:
            FileNotFoundError: in object storage, where opening asks for nothing: there is none.
            DamagedStore: the file ends before.
            StorageError: it could not be read.
        """


class ClipSource(ABC):
    """Copies equal byte ranges out of files that never change, below one folder. Thread-safe."""

    @abstractmethod
    def read(
        self,
        folders: Sequence[str],
        file: str,
        which: np.ndarray,
        offsets: np.ndarray,
        size: int,
        buffer: Callable[[], memoryview],
    ) -> None:
        """Copy n ranges, one after the other.

        Args:
            folders: names below the source's folder.
            file: path below each of them.
            which: [n] int: position in `folders`.
            offsets: [n] int64: where each range begins.
            size: bytes of each range.
            buffer: returns the n * size bytes to fill; called once, after the files are known to
                be large enough.

        Raises:
            FileNotFoundError: a file is missing.
            DamagedStore: a file ends before a range does.
        """

    @abstractmethod
    def forget(self) -> None:
        """Close files that are kept open."""


class Log(Protocol):
    """The lines that one writer appends."""

    def append(self, line: bytes) -> None:
        """Append a line so that it survives a crash, whole or not at all."""

    def close(self) -> None:
        """Release the file, if one was opened."""
