"""One process that reads videos for what is not extraction: predict, reports, pictures, streams.

Started by `isolated.py` by way of `start.py`. A request is JSON; so is each answer, and pictures
follow theirs as bytes.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from fractions import Fraction
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
import numpy as np

from stepcli.extract.decode.container import Decoding, decode, open_video, video_stream
from stepcli.extract.decode.depth_file import (
    as_rgb,
    depth_frames,
    depth_seconds,
    is_depth_file,
)
from stepcli.extract.decode.grid import (
    on_grid,
    packet_times,
    steps_of,
    time_of,
    timed_frames,
    timed_images,
)
from stepcli.extract.decode.image_file import read_image
from stepcli.extract.decode.length import length_of
from stepcli.extract.decode.messages import (
    Facts,
    FramesRequest,
    GridRequest,
    LengthRequest,
    LiveRequest,
    Request,
    SecondsRequest,
)
from stepcli.extract.decode.orientation import RGB, shrunk, upright
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.extract.decode.process import (
    OUT_OF_MEMORY,
    end_with_parent,
    limit_memory,
    out_of_memory,
)
from stepcli.runtime.errors import ClipError, VideoError

SIGN_SECONDS = 1.0
"""Between two signs of life while nothing else is sent."""

Answer = tuple[Facts, np.ndarray | None]


class _Signs:
    """Reports now and then that decoding makes progress."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._last < SIGN_SECONDS:
            return False
        self._last = now
        return True


def read_seconds(request: SecondsRequest, until: float | None = None) -> Iterator[Answer]:
    """When each frame of a video is shown; one that is cut off is refused.

    No more than `until` seconds are read, as far as frames have a time before the last is read.
    """
    path, signs = Path(request["path"]), _Signs()
    if is_depth_file(path):
        yield {"seconds": depth_seconds(len(depth_frames(path)))}, None
        return
    with open_video(path) as (container, stream):
        decoding = Decoding(container, stream)
        first = None
        for number, frame in enumerate(decoding.frames()):
            if until is not None and frame.time is not None:
                first = frame.time if first is None else first
                if frame.time - first >= until:
                    break
            if signs.due():
                yield {"frames": number}, None
        else:
            decoding.require_complete()
        yield {"seconds": decoding.times().seconds}, None


def read_frames(request: FramesRequest) -> Iterator[Answer]:
    """The frames with these numbers, rising; with a plan resized and cropped, `batch` at a time."""
    wanted = request["wanted"]
    plan = None if request["plan"] is None else PixelPlan.from_spec(request["plan"])
    chosen, signs = set(wanted), _Signs()
    numbers: list[int] = []
    pictures: list[np.ndarray] = []
    with _images(Path(request["path"])) as images:
        for number, image_of in enumerate(images):
            if number not in chosen:
                if signs.due():
                    yield {"frames": number}, None
                continue
            image = image_of()
            numbers.append(number)
            pictures.append(plan.shape_pixels(image) if plan else image)
            if len(numbers) == request["batch"] or number == wanted[-1]:
                yield {"numbers": numbers}, np.stack(pictures)
                numbers, pictures = [], []
            if number == wanted[-1]:
                return
    raise VideoError(f"damaged: frame {wanted[-1]} was there at first and is not the second time")


@contextmanager
def _images(path: Path) -> Iterator[Iterator[Callable[[], RGB]]]:
    """Of each frame in order what makes an upright image of it."""
    if is_depth_file(path):
        yield (partial(as_rgb, frame) for frame in depth_frames(path))
        return
    with open_video(path) as (container, stream):
        yield (partial(upright, frame) for frame in decode(container, stream))


def read_grid(request: GridRequest) -> Iterator[Answer]:
    """A recording's number of steps, then the pictures that its steps show, `batch` at a time.

    Each picture is decoded and converted once, however many steps show it.
    """
    path, rate, until = Path(request["path"]), Fraction(request["rate"]), request["until"]
    plan = None if request["plan"] is None else PixelPlan.from_spec(request["plan"])
    signs = _Signs()
    frames: Iterator[tuple[Any, float]]
    as_image: Callable[[Any], RGB] = upright
    if request["frames_per_second"] is not None and path.is_dir():
        images = timed_images(path, request["frames_per_second"])
        seconds, frames, as_image = [time for _, time in images], iter(images), read_image
    elif is_depth_file(path):
        depth = depth_frames(path)
        seconds, as_image = depth_seconds(len(depth)), as_rgb
        frames = zip(depth, seconds, strict=True)
    else:
        if plan is not None and plan.path == "fast":
            as_image = partial(shrunk, sides=plan.resized)
        shown, seconds = None, []
        if (known := packet_times(path, until)) is not None:
            shown, seconds = known
        else:
            for facts, _ in read_seconds({"do": "seconds", "path": request["path"]}, until):
                seconds = facts.get("seconds", [])
                yield {}, None
        frames = timed_frames(path, shown, seconds)
    if until is not None:
        seconds = [time for time in seconds if time < until]
        frames = islice(frames, len(seconds))
    steps = steps_of(seconds, rate)
    times = [time_of(seconds, number) for number in request["numbers"]]
    yield {"steps": steps, "seconds": times}, None
    if plan is None:
        return
    grid: list[tuple[int, int, float]] = []
    pictures: list[RGB] = []
    size = (0, 0)
    for found in on_grid(frames, steps, rate, request["first"]):
        if found is None:
            if signs.due():
                yield {}, None
            continue
        if getattr(found.frame, "is_corrupt", False):
            raise VideoError(f"damaged: the frame at {found.seconds:.3f} s could not be rebuilt")
        image = as_image(found.frame)
        size = size if size[0] else (image.shape[0], image.shape[1])
        grid.append((found.first, found.count, found.seconds))
        pictures.append(plan.shape_pixels(image))
        if len(grid) == request["batch"]:
            yield {"grid": grid, "size": size}, np.stack(pictures)
            grid, pictures = [], []
    if grid:
        yield {"grid": grid, "size": size}, np.stack(pictures)


def read_length(request: LengthRequest) -> Iterator[Answer]:
    """How long a recording is."""
    yield {"length": astuple(length_of(Path(request["path"]), request["frames_per_second"]))}, None


def read_live(request: LiveRequest, pipe: Connection) -> Iterator[Answer]:
    """A stream: the time of each frame is offered, and at last its end.

    The answer b"1" asks for the frame's picture, b"2" for that of the frame before it, b"0" for the
    next offer.
    """
    source: Any = sys.stdin.buffer if request["place"] == "-" else request["place"]
    try:
        container = av.open(source, format=request["form"], metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise VideoError(f"not a stream that FFmpeg can open ({error})") from error
    try:
        stream = video_stream(container)
        yield {"open": True}, None
        before = None
        for frame in container.decode(stream):
            yield {"offer": None if frame.time is None else float(frame.time)}, None
            yield from _pictures_asked_for(pipe, {b"1": frame, b"2": before})
            before = frame
        yield {"ended": True}, None
        yield from _pictures_asked_for(pipe, {b"2": before})
    except av.error.FFmpegError as error:
        raise VideoError(f"decoding failed ({error})") from error
    finally:
        container.close()


def _pictures_asked_for(pipe: Connection, frames: dict[bytes, Any]) -> Iterator[Answer]:
    while (frame := frames.get(pipe.recv_bytes())) is not None:
        yield {"numbers": [0]}, upright(frame)[None]


def _answers(request: Request, pipe: Connection) -> Iterator[Answer]:
    if request["do"] == "seconds":
        return read_seconds(request)
    if request["do"] == "frames":
        return read_frames(request)
    if request["do"] == "grid":
        return read_grid(request)
    if request["do"] == "length":
        return read_length(request)
    return read_live(request, pipe)


def answer(request: Request, pipe: Connection) -> None:
    """Send all answers to a request; the last one has "end" or "error"."""
    last: Facts = {"end": True}
    try:
        for facts, pictures in _answers(request, pipe):
            if pictures is not None:
                facts["shape"] = pictures.shape
            pipe.send_bytes(json.dumps(facts).encode())
            if pictures is not None:
                pipe.send_bytes(np.ascontiguousarray(pictures).reshape(-1).data)
    except ClipError as error:
        text = str(error)
        last = {"error": out_of_memory() if OUT_OF_MEMORY in text else text}
    except MemoryError:
        last = {"error": out_of_memory()}
    pipe.send_bytes(json.dumps(last).encode())


def main() -> None:
    """Serve until the pipe closes."""
    pipe_number, allowed = map(int, sys.argv[1:])
    av.logging.set_level(None)  # its callback takes the interpreter's lock from every thread
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    with Connection(pipe_number) as pipe:
        limit_memory(allowed)
        pipe.send_bytes(b'{"ready": true}')
        while True:
            try:
                request = json.loads(pipe.recv_bytes())
            except EOFError:
                return
            answer(request, pipe)
