"""A decoded frame as an upright RGB image: turned and mirrored as its display matrix says."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type

RGB = npt.NDArray[np.uint8]
"""An image: [height, width, 3] uint8."""

Orientation = tuple[bool, bool, bool]
"""Whether to swap rows and columns, then mirror top and bottom, then left and right."""


def upright(frame: Any) -> RGB:
    """The frame as RGB, turned and mirrored as its display matrix says."""
    return _oriented(frame, orientation(frame))


def shrunk(frame: Any, sides: Callable[[int, int], tuple[int, int]]) -> RGB:
    """The frame as `upright` gives it, or where it is larger, at twice the sides that are wanted.

    It is shrunk as it leaves the decoder, before it becomes RGB; the exact resizing does the rest.

    Args:
        frame: as decoded.
        sides: height and width of an upright frame -> those that it will be resized to.
    """
    found = orientation(frame)
    height, width = sides(*upright_sides(frame))
    if found[0]:
        height, width = width, height
    if frame.height > 2 * height and frame.width > 2 * width:
        frame = frame.reformat(
            width=2 * width, height=2 * height, interpolation="BICUBIC", threads=1
        )
    return _oriented(frame, found)


def upright_sides(frame: Any) -> tuple[int, int]:
    """Height and width of a frame once it is upright."""
    sides: tuple[int, int] = (frame.height, frame.width)
    return sides[::-1] if orientation(frame)[0] else sides


def orientation(frame: Any) -> Orientation:
    """How the frame is to be shown, to the nearest of the eight ways of laying an image.

    The display matrix maps the coded column p and row q to the shown column a p + c q and the
    shown row b p + d q (ISO/IEC 14496-12, 6.2.2; libavutil/display.h), so each of its signs is a
    mirroring, and columns that become rows are a transposition.
    """
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return False, False, False
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _oriented(frame: Any, orientation: Orientation) -> RGB:
    # One thread: by default FFmpeg starts one for each core, for every frame anew.
    image: RGB = frame.to_ndarray(format="rgb24", threads=1)
    transpose, upside_down, mirrored = orientation
    if transpose:
        image = image.transpose(1, 0, 2)
    if upside_down:
        image = image[::-1]
    if mirrored:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
