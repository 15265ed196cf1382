"""What a file says of its own length: whether it ends before that."""

from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


def riff_lost(name: str, size: int) -> int:
    """Bytes that are missing of the chunks at the top of an AVI file.

    Args:
        name: path of the file.
        size: its bytes.
    """
    place = 0
    with Path(name).open("rb") as file:
        while place + 8 <= size:
            file.seek(place)
            head = file.read(8)
            end = place + 8 + int.from_bytes(head[4:], "little")
            if head[:4] != b"RIFF":
                return 0
            if end > size:
                return end - size
            place = end + end % 2
    return 0


def matroska_lost(name: str, size: int) -> float:
    """Share of a Matroska or WebM file's segment that is missing; 0 where it does not say.

    Args:
        name: path of the file.
        size: its bytes.
    """
    place = 0
    with Path(name).open("rb") as file:
        while place < size:
            file.seek(place)
            element, _ = _number(file, keep_marker=True)
            length, unknown = _number(file, keep_marker=False)
            if unknown or element not in (_EBML, _SEGMENT):
                return 0.0  # a live stream, or nothing that we know
            start = file.tell()
            if element == _SEGMENT:
                return max(0.0, (start + length - size) / max(1, length))
            place = start + length
    return 0.0


def _number(file: BinaryIO, *, keep_marker: bool) -> tuple[int, bool]:
    """A variable-length number (RFC 8794, 4), and whether all of its bits are set: unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return 0, True
    more = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(more), "big")
    bits = value & ((1 << 7 * (more + 1)) - 1)
    return (value if keep_marker else bits), bits == (1 << 7 * (more + 1)) - 1
