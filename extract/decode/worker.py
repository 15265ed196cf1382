"""One decoder process: takes clips from a pipe, leaves pixels in shared memory.

Started by `process.py` by way of `start.py`, so that it is a fresh process that has never seen
CUDA, and a crash in a video library ends it alone. Messages are JSON.
"""

import json
import mmap
import os
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from math import prod
from multiprocessing.connection import Connection

import av
import numpy as np

from stepcli.extract.decode.clip_bounds import ClipBounds, read_segment
from stepcli.extract.decode.depth_file import is_depth_file, read_depth_file
from stepcli.extract.decode.image_folder import read_image_folder
from stepcli.extract.decode.messages import ClipReply
from stepcli.extract.decode.orientation import RGB, shrunk, upright
from stepcli.extract.decode.process import (
    OUT_OF_MEMORY,
    DecodeSettings,
    DecodeTask,
    end_with_parent,
    limit_memory,
    out_of_memory,
    pixel_bytes,
)
from stepcli.extract.decode.sampling import parse_sampling
from stepcli.extract.decode.torchcodec_video import load_torchcodec, read_with_torchcodec
from stepcli.extract.decode.video import ReadClip, read_whole
from stepcli.extract.decode.views import cut
from stepcli.extract.sources.origin import FileFacts, facts_of, state_of
from stepcli.runtime.errors import ClipError, VideoError


def decode_into(slot: np.ndarray, task: DecodeTask, settings: DecodeSettings) -> ReadClip:
    """Read one clip and leave its distinct frames in `slot`, each in all of its spatial views.

    Args:
        slot: bytes of shared memory, uint8; [U, spaces, height, width, 3] are filled, U being the
            number of distinct frames; of several backbones' pixels [U, bytes of all of them].
        task: the clip and its views.
        settings: what is the same for every clip.

    Returns:
        The clip with its images in the slot; positions and pts_seconds hold T entries for each of
        its temporal views.

    Raises:
        VideoError: with the reason.
    """
    clip, bounds = task.clip, ClipBounds.of(task.clip)
    rule, plan, plans = parse_sampling(settings.sampling), settings.plan, settings.plans

    def pick(available: int) -> list[int]:
        picks = (rule.indices(available, settings.frames, clip.id, time) for time in task.times)
        return [index for picked in picks for index in picked]

    def convert(image: RGB) -> RGB:
        if len(plans) == 1:
            return cut(image, plan, settings.views, task.spaces, clip.id)
        each = (cut(image, one, settings.views, task.spaces, clip.id) for one in plans)
        return np.concatenate([pixels.ravel() for pixels in each])

    # Random crops are cut out of whole frames, so a store that has any takes no short cut.
    fast = plan.path == "fast" and not settings.views.has_random_crops
    as_image = partial(shrunk, sides=plan.resized) if fast else upright
    if clip.frames_per_second is not None and clip.path.is_dir():
        read = read_image_folder(clip.path, clip.frames_per_second, bounds, pick, convert)
    elif is_depth_file(clip.path):
        read = read_depth_file(clip.path, bounds, pick, convert)
    elif settings.decoder == "torchcodec":
        read = read_with_torchcodec(clip.path, bounds, pick, convert)
    elif bounds.is_whole:
        read = read_whole(clip.path, pick, convert, as_image=as_image)
    else:
        read = read_segment(clip.path, bounds, pick, convert, as_image=as_image)
    shape: tuple[int, ...] = (len(read.images), len(task.spaces), plan.height, plan.width, 3)
    if len(plans) > 1:
        shape = (len(read.images), len(task.spaces) * sum(map(pixel_bytes, plans)))
    rows = slot[: prod(shape)].reshape(shape)
    for row, image in zip(rows, read.images, strict=True):
        row[:] = image
    return replace(read, images=rows)


def decode_known(
    slot: np.ndarray, task: DecodeTask, settings: DecodeSettings
) -> tuple[ReadClip, FileFacts]:
    """`decode_into`, and the size, time and digest of what was decoded.

    Raises:
        VideoError: with the reason; also where the video was replaced while it was read.
    """
    path = task.clip.path
    try:
        before, facts = state_of(path), facts_of(path)
    except OSError:
        facts = None  # the decoder's error follows
    read = decode_into(slot, task, settings)
    try:
        if facts is None or state_of(path) != before:
            raise VideoError("it changed while it was read; run the same command again")
    except OSError as error:
        raise VideoError(f"it vanished while it was read ({error.strerror})") from error
    return read, facts


def _reply(read: ReadClip, facts: FileFacts) -> ClipReply:
    """What the main process needs to know beside the pixels: `DecodedClip` reads it."""
    return {
        "read": {
            "images": len(read.images),
            "positions": read.positions,
            "pts_seconds": read.pts_seconds,
            "frame_height": read.frame_height,
            "frame_width": read.frame_width,
            "past_end": read.past_end,
        },
        "source": {"size": facts.size, "mtime_ns": facts.mtime_ns, "digest": facts.digest},
    }


def main() -> None:
    """Serve until the pipe closes."""
    # Without a third number, the bytes that it may take, there is no limit.
    pipe_number, memory_number, *allowed = map(int, sys.argv[1:])
    av.logging.set_level(None)  # its callback takes the interpreter's lock from every thread
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
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
                task = DecodeTask.from_json(json.loads(pipe.recv_bytes()))
            except EOFError:
                return
            offset = task.slot * settings.slot_bytes
            slot = np.frombuffer(memory, np.uint8, settings.slot_bytes, offset)
            started = time.perf_counter()
            try:
                reply = _reply(*decode_known(slot, task, settings))
            except ClipError as error:
                text = str(error)
                text = out_of_memory() if OUT_OF_MEMORY in text else text
                reply = {"error": type(error).__name__, "message": text}
            except MemoryError:
                reply = {"error": VideoError.__name__, "message": out_of_memory()}
            # Anything else is not the clip's fault as far as we know: `start.py` names a package
            # that does not load; else the process ends with a traceback, and the pool gives the
            # clip one more chance in a fresh one.
            reply["seconds"] = time.perf_counter() - started
            pipe.send_bytes(json.dumps(reply).encode())
