"""A camera, a pipe or a file as it comes: a rolling window whose frames are computed once."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepcli.apply.prediction.probes import Applied, ClipTokens, Tokens
from stepcli.extract.decode.isolated import Offer, live_video
from stepcli.runtime.errors import UsageError, VideoError


class RollingWindow:
    """The last T frames of a stream, evenly spaced: those that fall on a grid of seconds / T."""

    def __init__(self, applied: Applied, seconds: float) -> None:
        """An empty window of that length.

        Raises:
            UsageError: the length is not positive, or tokens depend on more than their own frame.
        """
        if not applied.by_frame:
            raise UsageError(
                f"--stream computes each frame once, but the tokens of {applied.spec.backbone} "
                f"depend on the whole window (token_scope: {applied.spec.token_scope}); use "
                "--video with --window, or probes of an image backbone"
            )
        if seconds <= 0:
            raise UsageError(f"--window {seconds:g}: expected seconds above 0")
        self._applied = applied
        self._interval = seconds / applied.spec.frames
        self._kept: deque[tuple[float, Tokens]] = deque(maxlen=applied.spec.frames)
        self._next = 0.0

    def wants(self, seconds: float) -> bool:
        """Whether the frame shown at that time is one that the window looks at."""
        return seconds >= self._next - 1e-9

    def push(self, picture: NDArray[np.uint8], seconds: float) -> bool:
        """Take a frame [height, width, 3], uint8, as decoded; True when the window is full."""
        shaped = self._applied.plan.shape_pixels(picture)
        self._kept.append((seconds, self._applied.frame_tokens(shaped[None])[0]))
        # On the grid, not from this frame on: a camera's jitter does not add up.
        self._next += self._interval * max(1, int((seconds - self._next) / self._interval) + 1)
        return len(self._kept) == self._kept.maxlen

    def clip(self) -> ClipTokens:
        """The window as a clip, once it is full."""
        seconds, tokens = zip(*self._kept, strict=True)
        return self._applied.clip(np.stack(tokens), seconds)

    @property
    def span(self) -> tuple[float, float]:
        """Times of the first and the last frame."""
        return self._kept[0][0], self._kept[-1][0]


@dataclass(frozen=True)
class LiveFrame:
    """A frame of a stream."""

    picture: NDArray[np.uint8]
    """[height, width, 3]"""
    seconds: float
    """Since the first frame."""


@contextmanager
def open_stream(place: str, form: str | None) -> Iterator[Iterator[Offer]]:
    """Raw frames of "-" (standard input), a device or a file, as they arrive.

    Args:
        place: Where they come from.
        form: FFmpeg's name of the format where it cannot tell, e.g. v4l2, mjpeg, rawvideo.

    Raises:
        VideoError: nothing there that FFmpeg can open, or decoding fails.
    """
    try:
        with live_video(place, form) as frames:
            yield frames
    except VideoError as error:
        advice = "; a pipe needs a format that is read from its beginning: matroska, mpegts, no MP4"
        raise VideoError(f"--stream {place}: {error}{advice if place == '-' else ''}") from error


def live_frames(frames: Iterator[Offer], window: RollingWindow) -> Iterator[LiveFrame]:
    """Those frames that the window wants; others are not even converted.

    Raises:
        VideoError: the frames have no times.
    """
    clock = LiveClock()
    for frame in frames:
        seconds = clock.seconds(frame.time)
        if window.wants(seconds):
            yield LiveFrame(frame.picture(), seconds)


class LiveClock:
    """Times that only go forward, of a stream whose later frames are not known yet.

    A frame that is not later than the one before is shown one gap after it. When the next frame is
    behind too, the clock was set back (a camera that reconnects, a file that loops), and continues
    from there.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._origin = 0.0
        self._gap = 0.04
        self._behind = 0

    def seconds(self, time: float | None) -> float:
        """Since the first frame.

        Args:
            time: of the next frame as the stream says it.

        Raises:
            VideoError: not even the first frame has a time.
        """
        if self._last is None:
            if time is None:
                raise VideoError("the stream's frames have no times; give their rate to FFmpeg")
            self._origin, self._last = time, 0.0
            return 0.0
        found = None if time is None else float(time - self._origin)
        if found is not None and found > self._last:
            if not self._behind:
                self._gap = found - self._last
            self._behind, self._last = 0, found
            return found
        self._last += self._gap
        if time is not None:
            self._behind += 1
            if self._behind > 1:
                self._origin, self._behind = time - self._last, 0
        return self._last
