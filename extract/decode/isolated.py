"""Videos read in a process of their own (`reader.py`), for predict, reports, pictures, streams.

A file made to crash, hang or exhaust a decoder ends or stalls that process; here it is a
VideoError. The process has no more memory than `process.py` allows.
"""

import atexit
import json
import subprocess
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stepcli.extract.decode.length import Length
from stepcli.extract.decode.messages import (
    Facts,
    FramesRequest,
    GridRequest,
    LengthRequest,
    Request,
    SecondsRequest,
)
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.extract.decode.process import START_SECONDS, Child, DecodersFailed, start_child
from stepcli.runtime.errors import VideoError

PATIENCE_SECONDS = 120.0
"""Without a sign of life a reader counts as hanging; the same as a clip's limit in extraction."""
LARGEST = 1 << 31
"""Bytes of one message from a reader, which may be under the control of a video by now."""

RGB = NDArray[np.uint8]
Answer = tuple[Facts, RGB | None]
"""What a reader says, and the pictures that go with it."""
_idle: list[Child] = []
"""At most one reader that waits for the next video: starting one takes half a second."""


def video_seconds(path: Path) -> NDArray[np.float64]:
    """When each frame of a video is shown, seconds since its first one.

    Args:
        path: Of the video.

    Raises:
        VideoError: it cannot be read to its end.
    """
    request: SecondsRequest = {"do": "seconds", "path": str(path.absolute())}
    found: NDArray[np.float64] = np.array([])
    with closing(ask_reader(request)) as answers:
        for facts, _ in answers:
            if "seconds" in facts:
                found = np.array(facts["seconds"], np.float64)
    return found


def video_frames(
    path: Path, wanted: Sequence[int], plan: PixelPlan | None = None, batch: int = 1
) -> Generator[tuple[list[int], RGB], None, None]:
    """Some frames of a video, in order; close it (`contextlib.closing`), which ends the decoder.

    Args:
        path: Of the video.
        wanted: Their numbers, rising.
        plan: Resizes and crops them; None: as decoded, upright.
        batch: Frames given at a time; the last time fewer.

    Yields:
        Numbers, and pictures [n, height, width, 3].

    Raises:
        VideoError: the video cannot be read.
    """
    request: FramesRequest = {
        "do": "frames",
        "path": str(path.absolute()),
        "wanted": list(wanted),
        "plan": None if plan is None else plan.to_spec(),
        "batch": batch,
    }
    with closing(ask_reader(request)) as answers:
        for facts, pictures in answers:
            if pictures is not None:
                yield facts["numbers"], pictures


@dataclass(frozen=True, slots=True)
class GridPictures:
    """Some of the pictures that a recording's steps show."""

    steps: list[tuple[int, int, float]]
    """Of each picture: its first step, how many steps show it, its time in seconds."""
    pictures: RGB
    """[n, height, width, 3], resized and cropped."""
    size: tuple[int, int]
    """Height and width of the recording's frames."""


def grid_frames(
    path: Path,
    rate: Fraction,
    plan: PixelPlan,
    batch: int,
    *,
    first: int = 0,
    until: float | None = None,
    frames_per_second: float | None = None,
) -> Generator[int | GridPictures, None, None]:
    """A whole recording on a grid of times, decoded once; close it as `video_frames`.

    Args:
        path: Of the video, or of a folder of images.
        rate: Steps per second.
        plan: Resizes and crops pictures.
        batch: Pictures given at a time; the last time fewer.
        first: Step from which on pictures are wanted.
        until: Seconds to read of it, as if it ended there; None: all.
        frames_per_second: Of a folder of images.

    Yields:
        First the number of steps, then pictures in order. It ends once the recording's end, or
        `until`, has been reached; its end is checked to be complete.

    Raises:
        VideoError: the recording cannot be read.
    """
    request: GridRequest = {
        "do": "grid",
        "path": str(path.absolute()),
        "frames_per_second": frames_per_second,
        "rate": str(rate),
        "first": first,
        "until": until,
        "numbers": [],
        "plan": plan.to_spec(),
        "batch": batch,
    }
    with closing(ask_reader(request)) as answers:
        for facts, pictures in answers:
            if "steps" in facts:
                yield facts["steps"]
            if pictures is not None:
                height, width = facts["size"]
                yield GridPictures(facts["grid"], pictures, (height, width))


def frame_seconds(
    path: Path, numbers: Sequence[int], frames_per_second: float | None = None
) -> list[float]:
    """When some frames of a recording are shown, where its packets tell without decoding it.

    Args:
        path: Of the video, or of a folder of images.
        numbers: Of the frames, from 0; beyond the last one they go on at its pace.
        frames_per_second: Of a folder of images.

    Raises:
        VideoError: the recording cannot be read.
    """
    request: GridRequest = {
        "do": "grid",
        "path": str(path.absolute()),
        "frames_per_second": frames_per_second,
        "rate": "1",
        "first": 0,
        "until": None,
        "numbers": list(numbers),
        "plan": None,
        "batch": 0,
    }
    with closing(ask_reader(request)) as answers:
        # To its last answer, after which the reader serves the next request.
        return next(facts["seconds"] for facts, _ in list(answers) if "steps" in facts)


def recording_length(path: Path, frames_per_second: float | None = None) -> Length:
    """The length of a recording, without reading all of it; see `length_of`.

    Args:
        path: Of the video, or of a folder of images.
        frames_per_second: Of a folder of images.

    Raises:
        VideoError: it cannot be opened.
    """
    request: LengthRequest = {
        "do": "length",
        "path": str(path.absolute()),
        "frames_per_second": frames_per_second,
    }
    with closing(ask_reader(request)) as answers:
        return next(Length(*facts["length"]) for facts, _ in list(answers) if "length" in facts)


def ask_reader(request: Request, *, live: bool = False) -> Generator[Answer, bytes, None]:
    """The answers to a request; what is sent to the generator goes to the reader.

    Close it (`contextlib.closing`): an exception's traceback keeps a generator that is left early,
    and with it the reader.

    Raises:
        VideoError: raised in the reader, or the reader has ended or hangs.
        DecodersFailed: a package that it needs does not load.
    """
    # A camera may wait for hours for its next frame.
    patience = None if live else PATIENCE_SECONDS
    child = (None if live else _waiting()) or _start(live=live)
    finished = False
    try:
        child.pipe.send_bytes(json.dumps(request).encode())
        while True:
            facts: Facts = json.loads(_receive(child, patience))
            if "fatal" in facts:
                raise DecodersFailed(facts["fatal"])
            if "error" in facts:
                finished = True
                raise VideoError(str(facts["error"]))
            if "end" in facts:
                finished = True
                return
            pictures = None
            if "shape" in facts:
                data = _receive(child, patience)
                if prod(facts["shape"]) != len(data):
                    raise VideoError("the decoder process sent a picture of another size")
                pictures = np.frombuffer(bytearray(data), np.uint8).reshape(facts["shape"])
            reply = yield facts, pictures
            if reply is not None:
                child.pipe.send_bytes(reply)
    except (EOFError, OSError, ValueError) as error:
        detail = child.last_words() or type(error).__name__
        raise VideoError(f"its decoder process ended ({detail})") from error
    finally:
        if finished and not live and not _idle:
            _idle.append(child)
        else:
            child.end()


def _waiting() -> Child | None:
    """The reader that waits, if there is one; threads may ask at once."""
    try:
        return _idle.pop()
    except IndexError:
        return None


def _receive(child: Child, patience: float | None) -> bytes:
    if not child.pipe.poll(patience):
        raise VideoError(f"decoding gave no sign of life for {patience:g} s")
    data: bytes = child.pipe.recv_bytes(LARGEST)
    return data


def _start(*, live: bool) -> Child:
    """A reader; that of a stream has our standard input.

    Raises:
        DecodersFailed: it does not come up.
    """
    stdin = None if live else subprocess.DEVNULL
    child = start_child("stepcli.extract.decode.reader", stdin=stdin)
    try:
        if child.pipe.poll(START_SECONDS):
            facts: Facts = json.loads(child.pipe.recv_bytes(LARGEST))
            if "fatal" not in facts:
                return child
            child.end()
            raise DecodersFailed(facts["fatal"])
    except (EOFError, OSError):
        pass
    raise DecodersFailed(f"a decoder process did not come up: {child.last_words() or 'it hangs'}")


@atexit.register
def end_idle() -> None:
    """End the reader that waits, if there is one."""
    while _idle:
        _idle.pop().end()
