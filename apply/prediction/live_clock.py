"""Times of a stream that go forward whatever its clock does."""

from stepcli.runtime.errors import VideoError


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
