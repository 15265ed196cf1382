"""One decoder process: takes clips from a pipe, leaves pixels in shared memory.

Started by `process.py` as `python -m stepcli.extract.decode.worker`, so that it is a fresh process
that has never seen CUDA, and a crash in a video library ends it alone. Messages are JSON.
"""

import json
import mmap
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from math import prod
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
import numpy as np

from stepcli.extract.decode.bounds import OUT_OF_MEMORY, limit_memory, out_of_memory
from stepcli.extract.decode.bounds import end_with_parent as _end_with_parent
from stepcli.extract.decode.clip_bounds import WatchedSegment, read_segment
from stepcli.extract.decode.image_folder import read_image_folder
from stepcli.extract.decode.orientation import RGB, shrunk, upright
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.extract.decode.sampling import parse_sampling
from stepcli.extract.decode.torchcodec_video import load_torchcodec, read_with_torchcodec
from stepcli.extract.decode.video import read_whole
from stepcli.extract.decode.views import ViewPlan, cut
from stepcli.extract.sources.digests import facts_of, state_of
from stepcli.runtime.errors import ClipError, VideoError


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """What is the same for every clip of a run."""

    plan: PixelPlan
    sampling: str
    frames: int
    """Frames of a view of a clip: T time steps, times the frames that a token spans."""
    views: ViewPlan = field(default_factory=ViewPlan)
    decoder: str = "pyav"
    """"pyav" or "torchcodec"."""

    @property
    def slot_bytes(self) -> int:
        """Shared memory that one clip's pixels may need, in all of its views."""
        times = parse_sampling(self.sampling).views
        spaces = len(self.views.spaces_of("train"))
        return self.frames * times * spaces * self.plan.height * self.plan.width * 3

    def to_json(self) -> dict[str, Any]:
        """For the worker's first message."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "DecodeSettings":
        """The reverse of `to_json`."""
        views = {**values["views"], "spaces": tuple(values["views"]["spaces"])}
        plan = PixelPlan.from_spec(values["plan"])
        return cls(**{**values, "plan": plan, "views": ViewPlan(**views)})


def decode_into(slot: np.ndarray, task: dict[str, Any], settings: DecodeSettings) -> dict[str, Any]:
    """Read one clip and leave its distinct frames in `slot`, each in all of its spatial views.

    Args:
        slot: bytes of shared memory, uint8; [U, spaces, height, width, 3] are filled, U being the
            number of distinct frames.
        task: path, segment and id of the clip, its spatial views ("spaces") and the numbers of its
            temporal ones ("times"); frames_per_second for a folder of images.
        settings: what is the same for every clip.

    Returns:
        What the main process needs to know beside the pixels, as JSON; positions and pts_seconds
        hold T entries for each of the times.

    Raises:
        VideoError: with the reason.
    """
    path, segment = Path(task["path"]), WatchedSegment(*task["segment"])
    rule, plan = parse_sampling(settings.sampling), settings.plan

    def pick(available: int) -> list[int]:
        picks = (
            rule.indices(available, settings.frames, task["id"], time) for time in task["times"]
        )
        return [index for picked in picks for index in picked]

    def convert(image: RGB) -> RGB:
        return cut(image, plan, settings.views, task["spaces"], task["id"])

    # Random crops are cut out of whole frames, so a store that has any takes no short cut.
    fast = plan.path == "fast" and not settings.views.has_random_crops
    as_image = partial(shrunk, sides=plan.resized) if fast else upright
    if task["frames_per_second"] is not None and path.is_dir():
        clip = read_image_folder(path, task["frames_per_second"], segment, pick, convert)
    elif settings.decoder == "torchcodec":
        clip = read_with_torchcodec(path, segment, pick, convert)
    elif segment.is_whole:
        clip = read_whole(path, pick, convert, as_image=as_image)
    else:
        clip = read_segment(path, segment, pick, convert, as_image=as_image)
    shape = (len(clip.images), len(task["spaces"]), plan.height, plan.width, 3)
    rows = slot[: prod(shape)].reshape(shape)
    for row, image in zip(rows, clip.images, strict=True):
        row[:] = image
    return {
        "distinct": len(clip.images),
        "positions": clip.positions,
        "pts_seconds": clip.pts_seconds,
        "height": clip.frame_height,
        "width": clip.frame_width,
        "past_end": any(segment.past_end),
    }


def decode_known(
    slot: np.ndarray, task: dict[str, Any], settings: DecodeSettings
) -> dict[str, Any]:
    """`decode_into`, and under "source" the size, time and digest of what was decoded.

    Raises:
        VideoError: with the reason; also where the video was replaced while it was read.
    """
    path = Path(task["path"])
    try:
        before, facts = state_of(path), facts_of(path)
    except OSError:
        facts = None  # what is wrong with it is said below, in the decoder's words
    reply = decode_into(slot, task, settings)
    try:
        if facts is None or state_of(path) != before:
            raise VideoError("it changed while it was read; run the same command again")
    except OSError as error:
        raise VideoError(f"it vanished while it was read ({error.strerror})") from error
    return {**reply, "source": asdict(facts)}


def main() -> None:
    """Serve until the pipe closes."""
    # Without a third number, the bytes that it may take, there is no limit.
    pipe_number, memory_number, *allowed = map(int, sys.argv[1:])
    av.logging.set_level(None)  # its callback takes the interpreter's lock from every thread
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    memory = mmap.mmap(memory_number, 0)
    with Connection(pipe_number) as pipe:
        settings = DecodeSettings.from_json(json.loads(pipe.recv_bytes()))
        if settings.decoder == "torchcodec":
            load_torchcodec()  # torch maps more than any video needs: before the limit
        if allowed:
            limit_memory(*allowed)
        pipe.send_bytes(b'{"ready": true}')
        while True:
            try:
                task = json.loads(pipe.recv_bytes())
            except EOFError:
                return
            offset = task["slot"] * settings.slot_bytes
            slot = np.frombuffer(memory, np.uint8, settings.slot_bytes, offset)
            started = time.perf_counter()
            try:
                reply = decode_known(slot, task, settings)
            except ClipError as error:
                text = str(error)
                text = out_of_memory() if OUT_OF_MEMORY in text else text
                reply = {"error": type(error).__name__, "message": text}
            except MemoryError:
                reply = {"error": VideoError.__name__, "message": out_of_memory()}
            # Anything else is not the clip's fault as far as we know: the process ends with a
            # traceback, and the pool gives the clip one more chance in a fresh one.
            reply["seconds"] = time.perf_counter() - started
            pipe.send_bytes(json.dumps(reply).encode())


if __name__ == "__main__":
    main()
