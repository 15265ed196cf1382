"""Videos to the tokens of windows in time, in bounded memory.

Each frame's tokens are computed once; those of a video backbone depend on the whole window, so
there a window's pictures are kept until its pass.
"""

import math
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepcli.apply.prediction.probes import BATCH, Applied, ClipTokens
from stepcli.extract.decode.isolated import video_frames, video_seconds
from stepcli.runtime.errors import UsageError


@dataclass(frozen=True)
class Window:
    """A stretch of a video that is answered as a clip."""

    start: float
    """Seconds since the video's first frame."""
    end: float
    """Of the frame after its last one, or of the video's end."""
    frames: tuple[int, ...]
    """Which of the video's frames are looked at: T, of tubelets twice as many."""
    seconds: tuple[float, ...]
    """[T]: when each step is shown, since the video's first frame; the mean of a tubelet's."""


def video_times(path: Path) -> NDArray[np.float64]:
    """When each frame of a video is shown, seconds since its first one.

    Raises:
        VideoError: it cannot be read to its end.
    """
    return video_seconds(path)


def plan_windows(
    times: NDArray[np.float64],
    applied: Applied,
    name: str,
    length: float | None,
    stride: float | None,
) -> list[Window]:
    """The windows of a video; one over all of it without a length.

    Args:
        times: Of its frames.
        applied: Whose sampling rule picks the frames of a window.
        name: Of the video, which seeds random rules.
        length: Of a window, seconds.
        stride: From one window's start to the next's, seconds; None: half a length.

    Raises:
        UsageError: a length or stride that is not positive.
    """
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    end = float(times[-1]) + step
    if length is None:
        spans = [(0.0, end)]
    else:
        stride = length / 2 if stride is None else stride
        for flag, seconds in (("--window", length), ("--stride", stride)):
            if not 0 < seconds < math.inf:
                raise UsageError(f"{flag} {seconds:g}: expected seconds above 0")
        # The last window ends with the video, so that its end is not left out.
        last = max(0.0, end - length)
        starts = [*np.arange(0, last, stride).tolist(), last]
        spans = [(start, min(start + length, end)) for start in starts]
    windows = []
    for start, stop in spans:
        first, after = np.searchsorted(times, (start - 1e-6, stop - 1e-6))
        first = min(int(first), len(times) - 1)
        count = max(1, int(after) - first)
        picked = applied.sampling.indices(count, applied.frames_shown, name)
        frames = first + np.array(picked)
        seconds = times[frames].reshape(applied.spec.frames, -1).mean(axis=1)
        windows.append(Window(start, stop, tuple(frames.tolist()), tuple(seconds.tolist())))
    return windows


def window_tokens(
    path: Path, windows: Sequence[Window], applied: Applied
) -> Generator[tuple[Window, ClipTokens], None, None]:
    """Tokens of each window, in order. Kept at a time: one batch of pictures, and of the frames
    that windows still to come look at the tokens (of a video backbone the pictures).

    Close it (`contextlib.closing`), which ends the decoder.

    Raises:
        VideoError: the video cannot be read.
    """
    wanted = sorted({frame for window in windows for frame in window.frames})
    kept: dict[int, NDArray[Any]] = {}
    waiting = deque(windows)
    with closing(video_frames(path, wanted, applied.plan, BATCH)) as frames:
        for numbers, pictures in frames:
            made = applied.frame_tokens(pictures) if applied.by_frame else pictures
            kept |= dict(zip(numbers, made, strict=True))
            while waiting and max(waiting[0].frames) <= numbers[-1]:
                window = waiting.popleft()
                steps = np.stack([kept[frame] for frame in window.frames])
                tokens = steps if applied.by_frame else applied.clip_tokens(steps)
                yield window, applied.clip(tokens, window.seconds)
                if waiting:
                    needed = min(waiting[0].frames)
                    kept = {frame: each for frame, each in kept.items() if frame >= needed}
