"""Parts of long videos: find the frames by time or number, seek to them, prove they are those.

Where frames lie is read once a video from its packets, without decoding. After a seek every
frame's time must be the one the packets announce; where it is not (AVI, damaged indexes), the
video is decoded from its beginning instead, which is slow and always right.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from stepcli.cache.errors import VideoError
from stepcli.extract.decode.video import (
    KEEP_BYTES,
    RGB,
    ReadClip,
    Times,
    assemble,
    decode,
    frame_times,
    hold,
    open_video,
    require_complete,
    require_file,
)


@dataclass(frozen=True, slots=True)
class Segment:
    """Half-open, in seconds since the first frame or in frame numbers; None: no bound there."""

    start_seconds: float | None = None
    end_seconds: float | None = None
    start_frame: int | None = None
    end_frame: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it leaves nothing out."""
        bounds = (self.start_seconds, self.end_seconds, self.start_frame, self.end_frame)
        return all(bound is None for bound in bounds)

    def bounds(self, seconds: Sequence[float]) -> tuple[int, int]:
        """First frame and the frame after the last, given every frame's time.

        Raises:
            VideoError: no frame lies in the segment.
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
        return start, stop


_TICK = 1e-6
"""Seconds: annotations are rounded (1/30 is written 0.033333), frame times are exact."""


class _NotAsAnnounced(Exception):
    """After a seek, the decoder showed other frames than the packets promised."""


def read_segment(
    path: Path,
    segment: Segment,
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
    times = _times_from_packets(*identity)
    if times is not None and times.pts is not None:
        try:
            return _read_bounds(path, segment, times, pick, convert, keep_bytes, as_image)
        except _NotAsAnnounced:
            pass  # the packets' times mislead: count the frames themselves
    times = _times_from_frames(*identity)
    plain = Times(times.seconds, None)
    return _read_bounds(path, segment, plain, pick, convert, keep_bytes, as_image)


def _read_bounds(
    path: Path,
    segment: Segment,
    times: Times,
    pick: Callable[[int], Sequence[int]],
    convert: Callable[[RGB], RGB],
    keep_bytes: int,
    as_image: Callable[[Any], RGB] | None,
) -> ReadClip:
    start, stop = segment.bounds(times.seconds)
    seconds = times.seconds[start:stop]
    kept = hold(_frames_between(path, times, start, stop), keep_bytes)
    frames = _frames_between(path, times, start, stop) if kept is None else kept
    return assemble(frames, seconds, pick, convert, as_image)


def _frames_between(path: Path, times: Times, start: int, stop: int) -> Iterator[Any]:
    """Exactly the frames [start, stop); by seeking where the times are known in ticks."""
    with open_video(path) as (container, stream):
        if times.pts is None:
            yield from islice(decode(container, stream), start, stop)
            return
        expected = iter(times.pts[start:stop])
        if start:
            container.seek(times.pts[start], stream=stream, backward=True, any_frame=False)
        awaited = next(expected)
        for frame in decode(container, stream):
            if frame.pts is None or frame.pts > awaited:
                raise _NotAsAnnounced
            if frame.pts == awaited:
                yield frame
                following = next(expected, None)
                if following is None:
                    return
                awaited = following
        raise _NotAsAnnounced


@lru_cache(maxsize=8)
def _times_from_packets(path: Path, modified: int, size: int) -> Times | None:
    """When each frame is shown, without decoding; None where the packets do not tell."""
    del modified, size  # part of the cache's key: a file written anew is read anew
    with open_video(path) as (container, stream):
        if container.format.name == "avi":  # decoding times only
            return None
        ticks = [
            packet.pts
            for packet in container.demux(stream)
            if packet.size and not packet.is_discard
        ]
        if not ticks or any(tick is None for tick in ticks):
            return None
        times = frame_times(stream, sorted(ticks))
    return None if times.pts is None else times


@lru_cache(maxsize=8)
def _times_from_frames(path: Path, modified: int, size: int) -> Times:
    del modified, size
    with open_video(path) as (container, stream):
        ticks = [frame.pts for frame in decode(container, stream)]
        require_complete(container, stream, len(ticks))
        return frame_times(stream, ticks)
