"""A whole recording on a grid of times, in one pass of the decoder.

Step k shows the frame that a player shows at k / rate seconds: the last one whose time is not
later. So a rate above the video's own repeats frames, and a variable frame rate is followed by
time. The number of steps is known beforehand from the packets, which takes no decoding; of files
whose packets do not tell, and of damaged ones, all frames are decoded once more for their times.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from stepcli.extract.datasets.images import frame_files
from stepcli.extract.decode.container import Decoding, open_video
from stepcli.extract.decode.packets import ShownFrames, shown_packets
from stepcli.runtime.errors import VideoError

TICK = 1e-6
"""Seconds within which a frame counts as shown at a step."""


@dataclass(frozen=True, slots=True)
class GridFrame:
    """One frame and the steps that show it."""

    frame: Any
    """As decoded, or the file of an image."""
    seconds: float
    """Since the recording's first frame."""
    first: int
    """Of its steps."""
    count: int
    """How many steps show it."""


def steps_of(seconds: Sequence[float], rate: Fraction) -> int:
    """N, steps of a recording: those before its last frame has been shown as long as the others.

    Args:
        seconds: time of each frame since the first one, rising.
        rate: steps per second.
    """
    return steps_in(time_of(seconds, len(seconds)), rate)


def steps_in(length: float, rate: Fraction) -> int:
    """N, steps of a recording that lasts `length` seconds."""
    return max(1, -int(-(length - TICK) * rate // 1))


def time_of(seconds: Sequence[float], number: int) -> float:
    """When a frame is shown; beyond the last one, time continues at the median pace."""
    if number < len(seconds):
        return seconds[number]
    apart = median(b - a for a, b in pairwise(seconds)) if len(seconds) > 1 else 0.0
    return seconds[-1] + apart * (number - len(seconds) + 1)


def frames_at(seconds: Sequence[float], steps: int, rate: Fraction) -> list[int]:
    """Number of the frame that each of N steps shows: the last one that is not later."""
    return [max(0, bisect_right(seconds, float(step / rate) + TICK) - 1) for step in range(steps)]


def on_grid(
    frames: Iterator[tuple[Any, float]], steps: int, rate: Fraction, first: int = 0
) -> Iterator[GridFrame | None]:
    """The frames that steps show, in order; None for each frame that none does.

    Args:
        frames: every frame with its time.
        steps: N; the last frame is repeated for steps after it.
        rate: steps per second.
        first: steps before it are left out.
    """
    step, held = 0, None
    for frame, time in frames:
        start = step
        while held is not None and step < steps and step / rate + TICK < time:
            step += 1
        if held is not None:
            yield _of_steps(*held, max(start, first), step)
        held = (frame, time)
    if held is not None:
        yield _of_steps(*held, max(step, first), steps)


def _of_steps(frame: Any, seconds: float, first: int, after: int) -> GridFrame | None:
    return GridFrame(frame, seconds, first, after - first) if after > first else None


def packet_times(path: Path, until: float | None = None) -> tuple[ShownFrames, list[float]] | None:
    """The frames of a video and their times by its packets; None where they do not tell.

    Args:
        path: of the video.
        until: as of `shown_packets`.

    Raises:
        VideoError: the file cannot be opened.
    """
    shown = shown_packets(path, until)
    if shown is None:
        return None
    return shown, [float((tick - shown.pts[0]) * shown.time_base) for tick in shown.pts]


def timed_frames(
    path: Path, shown: ShownFrames | None, seconds: Sequence[float]
) -> Iterator[tuple[Any, float]]:
    """Every frame of a video with its time, by one pass that has to reach the video's end.

    Args:
        path: of the video.
        shown: what its packets promise; None: `seconds` were found by decoding.
        seconds: of each frame.

    Raises:
        VideoError: it is damaged or cut off.
    """
    with open_video(path) as (container, stream):
        decoding = Decoding(container, stream)
        before = -1.0
        for number, frame in enumerate(decoding.frames()):
            if shown is None:
                if number == len(seconds):
                    raise VideoError("damaged: more frames were decoded the second time")
                time = seconds[number]
            elif frame.pts is None:
                raise VideoError(f"damaged: frame {number} has no timestamp")
            else:
                time = float((frame.pts - shown.pts[0]) * shown.time_base)
            if time <= before:
                raise VideoError(f"damaged: frame {number} is shown before the one before it")
            before = time
            yield frame, time
        decoding.require_complete()


def timed_images(folder: Path, frames_per_second: float) -> list[tuple[Path, float]]:
    """The images of a folder with their times.

    Raises:
        VideoError: the folder cannot be read, or holds no images.
    """
    return [(file, number / frames_per_second) for number, file in enumerate(frame_files(folder))]
