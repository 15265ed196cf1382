"""A camera, a pipe or a file as it comes: rolling windows whose frames are computed once.

Probes of clips look at windows of any length: the frames that are the first at or after each point
of a grid. Probes of recordings look at the windows into which extraction cuts a recording, with the
frames that it takes: each step shows the last frame that is not later.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from stepcli.apply.prediction.live_clock import LiveClock
from stepcli.apply.prediction.probes import Applied, ClipTokens, Tokens
from stepcli.cache.schema.windows import WindowRule
from stepcli.extract.decode.grid import TICK
from stepcli.extract.decode.live import Offer, live_video
from stepcli.runtime.errors import UsageError, VideoError

STALL_SECONDS = 60.0
"""A stream that shows no frame for this long and a window's length begins anew."""
GAPS = 1000
"""Latest gaps between frames that the length of the last frame is taken from."""


@dataclass(frozen=True)
class LiveWindow:
    """A window of a stream."""

    start: float
    end: float
    """Seconds since the first frame."""
    last_frame: float
    """When its last frame was shown."""
    clip: ClipTokens


def require_frames(applied: Applied) -> None:
    """See that tokens depend on their own frame alone.

    Raises:
        UsageError: they do not.
    """
    if not applied.by_frame:
        raise UsageError(
            f"--stream computes each frame once, but the tokens of {applied.spec.backbone} "
            f"depend on the whole window (token_scope: {applied.spec.token_scope}); use "
            "--video with --window, or probes of an image backbone"
        )


class RollingWindow:
    """The last T frames of a stream, evenly spaced: those that fall on a grid of seconds / T."""

    def __init__(self, applied: Applied, seconds: float) -> None:
        """An empty window of that length.

        Raises:
            UsageError: the length is not positive, or tokens depend on more than their own frame.
        """
        require_frames(applied)
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

    def look(self) -> LiveWindow:
        """The window once it is full, from its first frame to its last."""
        seconds, tokens = zip(*self._kept, strict=True)
        clip = self._applied.clip(np.stack(tokens), seconds)
        return LiveWindow(seconds[0], seconds[-1], seconds[-1], clip)


def clip_windows(
    frames: Iterable[Offer], applied: Applied, seconds: float, stride: float
) -> Iterator[LiveWindow]:
    """Windows of that length, one every stride; frames that none looks at are not even converted.

    Args:
        frames: Of the stream.
        applied: Whose windows they are.
        seconds: Length.
        stride: From one window to the next, seconds.

    Raises:
        VideoError: the frames have no times, or end before the first window is full.
    """
    window, clock = RollingWindow(applied, seconds), LiveClock()
    following, last, answered = 0.0, 0.0, False
    for frame in frames:
        if frame.ended:
            break
        last = clock.seconds(frame.time)
        if window.wants(last) and window.push(frame.picture(), last) and last >= following:
            following, answered = last + stride, True
            yield window.look()
    if not answered:
        raise VideoError(
            f"the stream ended after {last:.2f} s, before its first window of {seconds:g} s was "
            "full; give a shorter --window"
        )


class _Grid:
    """The last T steps of a recording, and where its windows begin."""

    def __init__(self, applied: Applied, rule: WindowRule) -> None:
        self.step, self.rule, self.length = 0, rule, applied.spec.frames
        self._applied = applied
        self._first = 0
        self._kept: deque[tuple[float, Tokens]] = deque(maxlen=self.length)

    def seconds(self) -> float:
        """When the next step is."""
        return float(self.step / self.rule.rate)

    def begin_at(self, seconds: float) -> None:
        """Forget what was shown; the next window begins at the first step from then on."""
        self.step = self._first = -int(-(seconds - TICK) * self.rule.rate // 1)
        self._kept.clear()

    def show(self, tokens: Tokens, seconds: float) -> Iterator[LiveWindow]:
        """Let the next step show a frame; the window that is full by it, if it is time for one."""
        self._kept.append((seconds, tokens))
        self.step += 1
        start = self.step - self.length
        if start >= self._first and (start - self._first) % self.rule.stride == 0:
            yield self._window(start, self.step)

    def end(self) -> Iterator[LiveWindow]:
        """The window that ends with the recording, if none did; a short one repeats its end."""
        steps = self.step - self._first
        if not self._kept:
            return
        if steps < self.length:
            short = self.step
            while len(self._kept) < self.length:
                self._kept.append(self._kept[-1])
            yield self._window(self._first, short)
        elif (steps - self.length) % self.rule.stride:
            yield self._window(self.step - self.length, self.step)

    def _window(self, start: int, end: int) -> LiveWindow:
        seconds, tokens = zip(*self._kept, strict=True)
        clip = self._applied.clip(np.stack(tokens), seconds)
        rate = self.rule.rate
        return LiveWindow(float(start / rate), float(end / rate), seconds[-1], clip)


def recording_windows(
    frames: Iterable[Offer], applied: Applied, rule: WindowRule
) -> Iterator[LiveWindow]:
    """The windows into which extraction would cut the stream, each as soon as it is full.

    Args:
        frames: Of the stream.
        applied: Whose windows they are.
        rule: How recordings were cut.

    Raises:
        VideoError: no frame came, or the frames have no times.
    """
    require_frames(applied)
    grid, clock = _Grid(applied, rule), LiveClock()
    gaps: deque[float] = deque(maxlen=GAPS)
    patience = STALL_SECONDS + float(grid.length / rule.rate)
    held: float | None = None
    end = 0.0
    tokens: Tokens | None = None

    def tokens_of(picture: NDArray[np.uint8]) -> Tokens:
        found: Tokens = applied.frame_tokens(applied.plan.shape_pixels(picture)[None])[0]
        return found

    for frame in frames:
        if not frame.ended:
            end = clock.seconds(frame.time)
        elif held is not None:  # the last frame is shown as long as the others
            end = held + (median(gaps) if gaps else 0.0)
        if held is not None and end - held > patience and not frame.ended:
            grid.begin_at(end)
        while held is not None and grid.seconds() + TICK < end:
            tokens = tokens_of(frame.before()) if tokens is None else tokens
            yield from grid.show(tokens, held)
        if frame.ended:
            break
        if held is not None:
            gaps.append(end - held)
        held, tokens = end, None
        if abs(grid.seconds() - end) <= TICK:  # no later frame can be this step's
            tokens = tokens_of(frame.picture())
            yield from grid.show(tokens, held)
    if held is None:
        raise VideoError("the stream ended without a frame")
    yield from grid.end()


@contextmanager
def open_stream(place: str, form: str | None) -> Iterator[Iterator[Offer]]:
    """Raw frames of "-" (standard input), a device or a file, as they arrive.

    Args:
        place: Where they come from.
        form: FFmpeg's name of the format where it cannot tell, e.g. v4l2, mjpeg, rawvideo.

    Raises:
        VideoError: nothing there that FFmpeg can open, or decoding fails.
    """
    with ExitStack() as stack:
        try:
            frames = stack.enter_context(live_video(place, form))
        except VideoError as error:
            advice = "; a pipe needs a format that is read from its beginning: matroska, mpegts"
            said = f"--stream {place}: {error}{advice if place == '-' else ''}"
            raise VideoError(said) from error
        try:
            yield frames
        except VideoError as error:
            raise VideoError(f"--stream {place}: {error}") from error
