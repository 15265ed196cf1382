"""How long a recording is, without reading it: its first packets and its last ones.

A header's duration is only where to look for the end: it counts the sound too, and frames that an
edit list hides. Where no header tells, the bytes of the file do, at the rate of its beginning.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import av

from stepcli.extract.datasets.images import frame_files
from stepcli.extract.decode.container import open_video
from stepcli.extract.decode.depth_file import depth_frames, depth_seconds, is_depth_file
from stepcli.extract.decode.grid import time_of
from stepcli.extract.decode.packets import B_FRAMES
from stepcli.runtime.errors import VideoError

BEGINNING_BYTES = 16 << 20
"""Read of a file whose header does not tell."""
ENDING_BYTES = 64 << 20
"""Read of a file's end at most; where it lies farther off, the header is wrong."""
BEFORE_END = 1.0
"""Seconds before the end that the header tells of, from where on packets are read."""


@dataclass(frozen=True, slots=True)
class Length:
    """Of a recording."""

    seconds: float
    """Until its last frame has been shown as long as the others."""
    frames: int
    """About how many it has."""
    told: bool
    """False: its header does not tell, and `seconds` is an estimate."""


def length_of(path: Path, frames_per_second: float | None = None) -> Length:
    """The length of a recording.

    Args:
        path: of the video, or of a folder of images.
        frames_per_second: of a folder of images.

    Raises:
        VideoError: it cannot be opened, or holds no packet with a time.
    """
    if frames_per_second is not None and path.is_dir():
        count = len(frame_files(path))
        return Length(count / frames_per_second, count, told=True)
    if is_depth_file(path):
        seconds = depth_seconds(len(depth_frames(path)))
        return Length(time_of(seconds, len(seconds)), len(seconds), told=True)
    with open_video(path) as (container, stream):
        if found := _told(container, stream):
            return found
    with open_video(path) as (container, stream):  # not every container can go back
        return _estimated(container, stream)


def _told(container: Any, stream: Any) -> Length | None:
    """From both ends; None where the header does not tell where the end is."""
    if stream.duration:
        duration = float(stream.duration * stream.time_base)
    elif container.duration:
        duration = container.duration / av.time_base
    else:
        return None
    head = _read(container, stream, packets=3 * B_FRAMES)
    if not head.ticks:
        return None
    begins = float(head.ticks[0] * stream.time_base)
    ending = begins + max(0.0, duration - BEFORE_END)
    try:
        container.seek(int(ending / stream.time_base), stream=stream)
    except av.error.FFmpegError:
        return None
    tail = _read(container, stream, size=ENDING_BYTES)
    if not tail.finished or not tail.ticks or tail.ticks[-1] < head.ticks[-1]:
        return None
    ticks = tail.ticks[-1] - head.ticks[0]
    # Frames between the last ones may come in later packets.
    early = head.ticks if head.finished else head.ticks[:-B_FRAMES]
    gaps = _gaps(early) + _gaps(tail.ticks)
    if not gaps:
        return Length(0.0, 1, told=True)
    if not any(gaps):  # all at one moment: these are no times
        return None
    seconds = float((ticks + median(gaps)) * stream.time_base)
    return Length(seconds, round(ticks / mean(gaps)) + 1, told=True)


def _estimated(container: Any, stream: Any) -> Length:
    """From the bytes of the file, and of its beginning."""
    head = _read(container, stream, size=BEGINNING_BYTES)
    if not head.count:
        raise VideoError("damaged: not one packet of its video could be read")
    share = 1.0 if head.finished else head.bytes / container.size
    rate = stream.average_rate or stream.guessed_rate
    if any(gaps := _gaps(head.ticks)):
        seconds = float((sum(gaps) + median(gaps)) * stream.time_base)
    elif rate:
        seconds = float(head.count / rate)
    else:
        raise VideoError("neither usable timestamps nor a frame rate")
    return Length(seconds / share, round(head.count / share), told=False)


@dataclass(frozen=True, slots=True)
class _Packets:
    """Some packets of a video, those that an edit list hides left out."""

    ticks: list[int]
    """Their times, rising."""
    count: int
    bytes: int
    """Of the file up to the end of the last one."""
    finished: bool
    """Whether the file's end was reached."""


def _read(
    container: Any, stream: Any, *, packets: int | None = None, size: int = ENDING_BYTES
) -> _Packets:
    """From the container's position on, until `packets` packets or `size` bytes were read."""
    ticks: list[int] = []
    count = first = last = 0
    finished = True
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.pos is not None and packet.pos >= 0:
                first = first if count else packet.pos
                last = max(last, packet.pos + packet.size)
            else:
                last += packet.size
            if not packet.is_discard:
                count += 1
                time = packet.dts if packet.pts is None else packet.pts
                ticks += [] if time is None else [time]
            if count == packets or last - first >= size:
                finished = False
                break
    except (av.error.FFmpegError, ValueError):
        pass  # extraction cannot read beyond it either
    return _Packets(sorted(ticks), count, last, finished)


def _gaps(ticks: list[int]) -> list[int]:
    """From each frame to the next one; by their median a recording ends, see `time_of`."""
    return [b - a for a, b in pairwise(ticks)]
