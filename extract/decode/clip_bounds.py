"""Parts of long videos: find the frames by time or number, seek to them, prove they are those.

Where frames lie is read once per video from its packets, without decoding. After a seek every
frame from a key frame on must be the one that the packets announce; where it is not, and where
packets do not tell (AVI, MPEG-PS, fields), the video is decoded from its beginning instead,
which is slow and always right.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av

from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.container import decode, open_video, require_file
from stepcli.extract.decode.orientation import RGB
from stepcli.extract.decode.packets import ShownFrames, shown_packets
from stepcli.extract.decode.video import KEEP_BYTES, ReadClip, assemble, hold, times_of
from stepcli.runtime.errors import VideoError


@dataclass(frozen=True, slots=True)
class ClipBounds:
    """Half-open, in seconds since the first frame or in frame numbers; None: no bound there."""

    start_seconds: float | None = None
    end_seconds: float | None = None
    start_frame: int | None = None
    end_frame: int | None = None

    @classmethod
    def of(cls, clip: Clip) -> "ClipBounds":
        """The part of its video that a clip is."""
        return cls(clip.start_seconds, clip.end_seconds, clip.start_frame, clip.end_frame)

    @property
    def is_whole(self) -> bool:
        """Whether they leave nothing out."""
        bounds = (self.start_seconds, self.end_seconds, self.start_frame, self.end_frame)
        return all(bound is None for bound in bounds)

    def frame_range(self, seconds: Sequence[float]) -> tuple[int, int, bool]:
        """First frame, the frame after the last, and whether the end lies behind the video's.

        Args:
            seconds: every frame's time.

        Raises:
            VideoError: no frame lies within.
        """
        count = len(seconds)
        if self.start_seconds is not None or self.end_seconds is not None:
            unit, first, last = "s", self.start_seconds or 0.0, self.end_seconds
            start = bisect_left(seconds, first - _TICK)
            stop = count if last is None else bisect_left(seconds, last - _TICK)
            length: float = seconds[-1]
        else:
            unit, first, last = "frames", self.start_frame or 0, self.end_frame
            start, stop = first, count if last is None else min(last, count)
            length = count
        if start >= stop:
            end = "the end" if last is None else f"{last:g}"
            raise VideoError(
                f"the segment {first:g} to {end} {unit} holds no frame of the video, "
                f"which has {length:g} {unit}"
            )
        return start, stop, self._is_past_end(seconds)

    def _is_past_end(self, seconds: Sequence[float]) -> bool:
        """Whether the end lies more than a frame after the video's."""
        if self.end_frame is not None and self.end_frame > len(seconds):
            return True
        apart = (seconds[-1] - seconds[0]) / max(1, len(seconds) - 1)
        # The last frame is shown for a while too; annotations are rounded by as much again.
        return self.end_seconds is not None and self.end_seconds > seconds[-1] + 2 * apart + _TICK


NEAR = 3
"""Key frames up to which a segment counts as near the beginning: no seek is needed."""

_TICK = 1e-6
"""Seconds: annotations are rounded (1/30 is written 0.033333), frame times are exact."""


class _NotAsAnnounced(Exception):
    """After a seek, the decoder showed other frames than the packets promised."""


def read_segment(
    path: Path,
    bounds: ClipBounds,
    pick: Callable[[int], Sequence[int]],
    convert: Callable[[RGB], RGB],
    keep_bytes: int = KEEP_BYTES,
    as_image: Callable[[Any], RGB] | None = None,
) -> ReadClip:
    """Read the picked frames of a part of a video; arguments as for `read_whole`.

    Raises:
        VideoError: with the reason; also for a segment in which no frame lies.
    """
    require_file(path)
    found = path.stat()
    identity = (path, found.st_mtime_ns, found.st_size)
    how = (pick, convert, keep_bytes, as_image)
    shown = _shown(*identity)
    if shown is not None:
        seconds = [float((tick - shown.pts[0]) * shown.time_base) for tick in shown.pts]
        try:
            return _read_range(path, bounds, seconds, shown, *how)
        except _NotAsAnnounced:
            pass  # the packets' times mislead: count the frames themselves
    return _read_range(path, bounds, _seconds(*identity), None, *how)


def _read_range(
    path: Path,
    bounds: ClipBounds,
    seconds: list[float],
    shown: ShownFrames | None,
    pick: Callable[[int], Sequence[int]],
    convert: Callable[[RGB], RGB],
    keep_bytes: int,
    as_image: Callable[[Any], RGB] | None,
) -> ReadClip:
    start, stop, past_end = bounds.frame_range(seconds)

    def frames() -> Iterator[Any]:
        if shown is None:
            return _from_the_beginning(path, start, stop)
        return _after_a_seek(path, shown, start, stop)

    kept = hold(frames(), keep_bytes)
    return assemble(
        frames() if kept is None else kept, seconds[start:stop], pick, convert, as_image, past_end
    )


def _from_the_beginning(path: Path, start: int, stop: int) -> Iterator[Any]:
    """The frames [start, stop), by decoding all frames before them too."""
    with open_video(path) as (container, stream):
        yield from islice(decode(container, stream), start, stop)


def _after_a_seek(path: Path, shown: ShownFrames, start: int, stop: int) -> Iterator[Any]:
    """The frames [start, stop), each of them and those before it checked by its timestamp.

    Raises:
        _NotAsAnnounced: other frames came, or none from which decoding can begin.
    """
    before = sorted(key for key in shown.keys if key <= shown.pts[start])
    if start:
        with open_video(path) as (container, stream):
            # A seek by decoding time may end at a key frame that is shown after the frame (open
            # groups), one by bytes after its key frame: then to the key frame before the last.
            for tick in (shown.pts[start], *before[-2:-1]):
                frames = _after(container, stream, tick)
                first = _next_key(frames, shown)
                place = None if first is None else bisect_left(shown.pts, first.pts)
                if place is not None and place <= start:
                    yield from _checked(chain([first], frames), shown, place, start, stop)
                    return
    if len(before) > NEAR:
        raise _NotAsAnnounced
    with open_video(path) as (container, stream):
        yield from _checked(_decoded(container, stream), shown, 0, start, stop)


def _checked(
    frames: Iterator[Any], shown: ShownFrames, place: int, start: int, stop: int
) -> Iterator[Any]:
    """Those of the frames from number `place` on that are in [start, stop)."""
    for frame in frames:
        if frame.pts != shown.pts[place]:
            raise _NotAsAnnounced
        if place >= start:
            yield frame
        place += 1
        if place == stop:
            return
    raise _NotAsAnnounced


def _next_key(frames: Iterator[Any], shown: ShownFrames) -> Any:
    """The first key frame; None if none comes. Those before may lack what they are made from."""
    return next((frame for frame in frames if frame.key_frame and frame.pts in shown.keys), None)


def _after(container: Any, stream: Any, tick: int) -> Iterator[Any]:
    """Frames after a seek; none where it is not possible."""
    try:
        container.seek(tick, stream=stream, backward=True, any_frame=False)
    except av.error.FFmpegError:  # no key frame is marked as one
        return
    yield from _decoded(container, stream)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames after a seek: what cannot be decoded from there may well be from the beginning."""
    try:
        yield from decode(container, stream)
    except VideoError as error:
        raise _NotAsAnnounced from error


@lru_cache(maxsize=8)
def _shown(path: Path, modified: int, size: int) -> ShownFrames | None:
    del modified, size  # part of the cache's key: a file written anew is read anew
    return shown_packets(path)


@lru_cache(maxsize=8)
def _seconds(path: Path, modified: int, size: int) -> list[float]:
    del modified, size
    return times_of(path).seconds
