"""Video file -> the frames of a clip, with PyAV: exact, and a true reason where it cannot be.

Frames are counted by decoding, never taken from a header: webm announces 0 frames, AVI one too
many. A clip's raw frames are kept while they are decoded and only the picked ones converted to
RGB; where they outgrow `KEEP_BYTES`, the clip is decoded a second time instead.
"""

import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from stepcli.cache.errors import VideoError

RGB = npt.NDArray[np.uint8]
"""An image: [height, width, 3] uint8."""

KEEP_BYTES = 256 << 20
"""Raw frames that one decoder may hold: 256 MiB, 2,000 frames of 340x256."""

LOST_FRAMES = 0.05
"""Share of the announced frames that may be missing before a file counts as cut off: AVI with
packed B-frames announces one or two more than there are."""

_PLAYLISTS = frozenset({"concat", "hls", "dash", "applehttp", "lavfi", "tee"})


@dataclass(frozen=True, slots=True)
class ReadClip:
    """The picked frames of a clip."""

    images: list[RGB]
    """The distinct picked frames in order, each as `convert` returned it."""
    positions: list[int]
    """For each of the T time steps, which of `images` it shows."""
    pts_seconds: list[float]
    """Time of each of the T steps since the video's first frame, seconds."""
    frame_height: int
    """Pixels, upright, before any resizing."""
    frame_width: int


@dataclass(frozen=True, slots=True)
class Times:
    """When each frame of a video is shown, in presentation order."""

    seconds: list[float]
    """Since the first frame; strictly increasing."""
    pts: list[int] | None
    """The same in the stream's ticks; None where the file's own times make no sense."""


@contextmanager
def open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream, decoded on one thread; closed at the end.

    Raises:
        VideoError: not a regular file, unreadable, empty, a picture, a playlist, without video.
    """
    require_file(path)
    try:
        container = av.open(
            str(path.absolute()),
            metadata_errors="ignore",  # titles in old code pages are no reason to fail
            options={"protocol_whitelist": "file"},
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(f"not a video that FFmpeg can open ({_reason(error)})") from error
    try:
        kind = container.format.name
        if kind.endswith("_pipe") or kind.startswith("image2"):
            raise VideoError(f"a picture ({kind}), not a video")
        if _PLAYLISTS.intersection(kind.split(",")):
            raise VideoError(f"a playlist ({kind}), not a video")
        if not container.streams.video:
            kinds = sorted({stream.type for stream in container.streams})
            raise VideoError(f"holds no video stream (only {', '.join(kinds) or 'nothing'})")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise VideoError("the video's codec is not known to this FFmpeg")
        stream.codec_context.thread_count = 1  # many clips at once beat many threads a clip
        yield container, stream
    finally:
        container.close()


def require_file(path: Path) -> None:
    """Refuse what is no regular file with bytes in it, before FFmpeg blocks on it."""
    try:
        found = path.stat()
    except OSError as error:
        raise VideoError(f"cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "folder" if stat.S_ISDIR(found.st_mode) else "pipe, socket or device"
        raise VideoError(f"a {kind}, not a file")
    if found.st_size == 0:
        raise VideoError("the file is empty (0 bytes)")


def decode(container: Any, stream: Any) -> Iterator[Any]:
    """Raw frames in presentation order.

    Raises:
        VideoError: the decoder gave up; says after how many frames.
    """
    count = 0
    try:
        for frame in container.decode(stream):
            yield frame
            count += 1
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(
            f"damaged: decoding failed after {count} frames ({_reason(error)})"
        ) from error


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
        ticks: list[int | None] = []

        def frames() -> Iterator[Any]:
            for frame in decode(container, stream):
                ticks.append(frame.pts)
                yield frame

        kept = hold(frames(), keep_bytes)
        require_complete(container, stream, len(ticks))
        seconds = frame_times(stream, ticks).seconds
    if kept is not None:
        return assemble(kept, seconds, pick, convert, as_image)
    with open_video(path) as (container, stream):
        return assemble(decode(container, stream), seconds, pick, convert, as_image)


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
) -> ReadClip:
    """Pick, make images and convert them, one RGB image in memory at a time.

    Args:
        frames: all frames of the clip in order, as many as `seconds` has entries.
        seconds: the time of each.
        pick: number of frames -> indices.
        convert: applied to each picked image.
        as_image: what makes an image of a decoded frame; None: `upright`.
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
    )


def upright(frame: Any) -> RGB:
    """The frame as RGB, turned as its rotation flag says (a multiple of 90 degrees)."""
    return _turned(frame, quarter_turns(frame))


def shrunk(frame: Any, sides: Callable[[int, int], tuple[int, int]]) -> RGB:
    """The frame as `upright` gives it, or where it is larger, at twice the sides that are wanted.

    It is shrunk as it leaves the decoder, before it becomes RGB; the exact resizing does the rest.

    Args:
        frame: as decoded.
        sides: height and width of an upright frame -> those that it will be resized to.
    """
    turns = quarter_turns(frame)
    height, width = sides(*upright_sides(frame))
    if turns % 2:
        height, width = width, height
    if frame.height > 2 * height and frame.width > 2 * width:
        frame = frame.reformat(
            width=2 * width, height=2 * height, interpolation="BICUBIC", threads=1
        )
    return _turned(frame, turns)


def _turned(frame: Any, quarter_turns: int) -> RGB:
    # One thread: by default FFmpeg starts one for each core, for every frame anew.
    image: RGB = frame.to_ndarray(format="rgb24", threads=1)
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image


def quarter_turns(frame: Any) -> int:
    """How often the picture must be turned anticlockwise by 90 degrees, 0 to 3."""
    turns: int = round(frame.rotation / 90) % 4
    return turns


def upright_sides(frame: Any) -> tuple[int, int]:
    """Height and width of a frame once it is turned."""
    sides: tuple[int, int] = (frame.height, frame.width)
    return sides[::-1] if quarter_turns(frame) % 2 else sides


def frame_times(stream: Any, ticks: Sequence[int | None]) -> Times:
    """Times from a stream's ticks, or from its frame rate where the ticks do not increase.

    AVI has no presentation times: with B-frames, what PyAV shows are decoding times out of order.
    """
    known = [tick for tick in ticks if tick is not None]
    if len(known) == len(ticks) and all(before < after for before, after in pairwise(known)):
        return Times([float((tick - known[0]) * stream.time_base) for tick in known], known)
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        raise VideoError("has neither usable times nor a frame rate")
    return Times([float(number / rate) for number in range(len(ticks))], None)


def require_complete(container: Any, stream: Any, decoded: int) -> None:
    """Refuse a video of which little came out, against what its header announces."""
    if decoded == 0:
        raise VideoError("damaged: not one frame could be decoded")
    if stream.frames > 0 and decoded < stream.frames - max(2, LOST_FRAMES * stream.frames):
        raise VideoError(
            f"cut off: the file announces {stream.frames} frames, {decoded} could be decoded"
        )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
