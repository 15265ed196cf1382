"""What both formats offer for writing tokens, and what they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.schema.part_layout import ArrayLayout, PartLayout


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

    def __init__(self, layout: PartLayout) -> None:
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
