"""A stream as it arrives: the time of each frame is offered, and pictures are sent if asked for."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stepcli.extract.decode.isolated import RGB, Answer, ask_reader
from stepcli.extract.decode.messages import Facts
from stepcli.runtime.errors import VideoError


@dataclass(slots=True)
class Offer:
    """A frame of a stream, which need not be looked at, nor the one before it."""

    time: float | None
    """Seconds, as the stream says it."""
    _answers: Generator[Answer, bytes, None]
    ended: bool = False
    """No frame: the stream has ended, and only the frame before can be asked for."""

    def picture(self) -> RGB:
        """[height, width, 3], before the next frame is asked for."""
        return self._asked(b"1")

    def before(self) -> RGB:
        """The same of the frame before this one."""
        return self._asked(b"2")

    def _asked(self, which: bytes) -> RGB:
        _, pictures = self._answers.send(which)
        if pictures is None:
            raise VideoError("the decoder process gave no picture")
        picture: RGB = pictures[0]
        return picture


@contextmanager
def live_video(place: str, form: str | None) -> Iterator[Iterator[Offer]]:
    """The frames of "-" (standard input), a device, an address or a file, as they arrive, and an
    offer that says that the stream has ended.

    Args:
        place: Where they come from.
        form: FFmpeg's name of the format where it cannot tell, e.g. v4l2, mjpeg, rawvideo.

    Raises:
        VideoError: nothing there that FFmpeg can open, or decoding fails.
    """
    answers = ask_reader({"do": "live", "place": place, "form": form}, live=True)
    try:
        next(answers)
        yield _offers(answers)
    finally:
        answers.close()


def _offers(answers: Generator[Answer, bytes, None]) -> Iterator[Offer]:
    facts: Facts
    facts, _ = next(answers)
    while not facts.get("ended"):
        yield Offer(facts["offer"], answers)
        facts, _ = answers.send(b"0")
    yield Offer(None, answers, ended=True)
