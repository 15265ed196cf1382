"""Video file -> the frames of a clip, with PyAV: exact, and a true reason where it cannot be.

Frames are counted by decoding, never taken from a header: webm announces 0 frames, AVI one too
many. A clip's raw frames are kept while they are decoded and only the picked ones converted to
RGB; where they outgrow `KEEP_BYTES`, the clip is decoded a second time instead.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcli.extract.decode.container import Decoding, decode, open_video
from stepcli.extract.decode.orientation import RGB, upright, upright_sides
from stepcli.extract.decode.times import Times
from stepcli.runtime.errors import VideoError

KEEP_BYTES = 256 << 20
"""Raw frames that one decoder may hold: 256 MiB, 2,000 frames of 340x256."""


@dataclass(frozen=True, slots=True)
class ReadClip:
    """The picked frames of a clip."""

    images: list[RGB] | RGB
    """The distinct picked frames in order, each as `convert` returned it."""
    positions: list[int]
    """For each of the T time steps, which of `images` it shows."""
    pts_seconds: list[float]
    """Time of each of the T steps since the video's first frame, seconds."""
    frame_height: int
    """Pixels, upright, before any resizing."""
    frame_width: int
    past_end: bool = False
    """Whether the clip's bounds end after its video does."""


def read_whole(
    path: Path,
    pick: Callable[[int], Sequence[int]],
    convert: Callable[[RGB], RGB],
    keep_bytes: int = KEEP_BYTES,
    as_image: Callable[[Any], RGB] | None = None,
) -> ReadClip:
    """Read the picked frames of a whole video.

    Args:
        path: any file; what is no video raises.
        pick: number of frames N -> T indices in [0, N), never decreasing.
        convert: applied to each picked frame once: resize and crop.
        keep_bytes: raw frames to hold at most; beyond, the file is decoded twice.
        as_image: what makes an image of a decoded frame; None: `upright`.

    Raises:
        VideoError: with the reason.
    """
    with open_video(path) as (container, stream):
        decoding = Decoding(container, stream)
        kept = hold(decoding.frames(), keep_bytes)
        decoding.require_complete()
        seconds = decoding.times().seconds
    if kept is not None:
        return assemble(kept, seconds, pick, convert, as_image)
    with open_video(path) as (container, stream):
        return assemble(decode(container, stream), seconds, pick, convert, as_image)


def times_of(path: Path) -> Times:
    """When each frame of a video is shown, by decoding all of it.

    Raises:
        VideoError: it cannot be read to its end.
    """
    with open_video(path) as (container, stream):
        decoding = Decoding(container, stream)
        for _ in decoding.frames():
            pass
        decoding.require_complete()
        return decoding.times()


def hold(frames: Iterator[Any], keep_bytes: int) -> list[Any] | None:
    """Every frame, or None (having decoded them all) where they take more than `keep_bytes`."""
    kept: list[Any] | None = []
    held = 0
    for frame in frames:
        if kept is None:
            continue
        held += sum(plane.buffer_size for plane in frame.planes)
        if held > keep_bytes:
            kept = None
        else:
            kept.append(frame)
    return kept


def assemble(
    frames: Iterator[Any] | list[Any],
    seconds: Sequence[float],
    pick: Callable[[int], Sequence[int]],
    convert: Callable[[RGB], RGB],
    as_image: Callable[[Any], RGB] | None = None,
    past_end: bool = False,
) -> ReadClip:
    """Pick, make images and convert them, one RGB image in memory at a time.

    Args:
        frames: all frames of the clip in order, as many as `seconds` has entries.
        seconds: the time of each.
        pick: number of frames -> indices.
        convert: applied to each picked image.
        as_image: what makes an image of a decoded frame; None: `upright`.
        past_end: recorded.
    """
    as_image = as_image or upright
    indices = list(pick(len(seconds)))
    wanted = sorted(set(indices))
    place = {index: position for position, index in enumerate(wanted)}
    images: list[RGB] = []
    size = (0, 0)
    for number, frame in enumerate(frames):
        if number != wanted[len(images)]:
            continue
        if frame.is_corrupt:
            raise VideoError(f"damaged: frame {number} of {len(seconds)} could not be rebuilt")
        if not images:
            size = upright_sides(frame)
        images.append(convert(as_image(frame)))
        if len(images) == len(wanted):
            break
    if len(images) < len(wanted):
        raise VideoError(
            f"damaged: {len(seconds)} frames were decoded at first, fewer the second time"
        )
    return ReadClip(
        images,
        [place[index] for index in indices],
        [seconds[index] for index in indices],
        *size,
        past_end,
    )
