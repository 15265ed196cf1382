"""Video file -> the frames of a clip, with torchcodec where a user has installed it.

An option beside PyAV: the same frames by the same rules, but what is damaged is told less well
apart. torchcodec needs FFmpeg's shared libraries, which PyAV's wheel does not offer to others.

It counts packets, and obeys rotations only: where packets do not tell which frames are shown, and
where a display matrix turns or mirrors the picture, the video is read by PyAV.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepcli.extract.decode.clip_bounds import ClipBounds, read_segment
from stepcli.extract.decode.container import decode, open_video
from stepcli.extract.decode.orientation import RGB, Orientation, orientation
from stepcli.extract.decode.packets import shown_packets
from stepcli.extract.decode.video import ReadClip, read_whole
from stepcli.runtime.errors import UsageError, VideoError
from stepcli.runtime.extras import LOADING_ERRORS, first_line, raise_failed_import


def load_torchcodec() -> Any:
    """The class that decodes.

    Raises:
        UsageError: not installed, or its libraries do not load.
    """
    try:
        from torchcodec.decoders import VideoDecoder
    except LOADING_ERRORS as error:
        raise UsageError(
            f"--decoder torchcodec: it cannot be loaded here ({first_line(error)}); install "
            "torchcodec for this torch, and FFmpeg's shared libraries, or leave --decoder out"
        ) from error
    return VideoDecoder


def read_with_torchcodec(
    path: Path,
    bounds: ClipBounds,
    pick: Callable[[int], Sequence[int]],
    convert: Callable[[RGB], RGB],
) -> ReadClip:
    """Read the picked frames of a video or a part of one; arguments as for `read_whole`.

    Frames are counted and timed by a scan of the whole file ("exact"), never from its header.

    Raises:
        VideoError: with the reason.
    """
    decoder_class = load_torchcodec()
    shown = shown_packets(path)
    number, turned = _stream(path)
    if shown is None or any(turned):
        if bounds.is_whole:
            return read_whole(path, pick, convert)
        return read_segment(path, bounds, pick, convert)
    try:
        decoder = decoder_class(
            str(path),
            stream_index=number,
            dimension_order="NHWC",
            num_ffmpeg_threads=1,
            seek_mode="exact",
        )
        count = len(decoder)
        if count != len(shown.pts):
            raise VideoError(f"torchcodec finds {count} frames, PyAV {len(shown.pts)}")
        if count == 0:
            raise VideoError("damaged: not one frame could be decoded")
        start, stop, past_end = _frame_range(decoder, bounds, count)
        indices = [start + index for index in pick(stop - start)]
        wanted = sorted(set(indices))
        batch = decoder.get_frames_at(indices=wanted)
        frames = batch.data.numpy()
        first = float(decoder.get_frame_at(0).pts_seconds)
        seconds = [float(time) - first for time in batch.pts_seconds]
    except (RuntimeError, ValueError, IndexError) as error:
        raise_failed_import(error)
        reason = str(error).strip().splitlines()[0]
        raise VideoError(f"not a video that torchcodec can decode ({reason})") from error
    place = {index: position for position, index in enumerate(wanted)}
    height, width = frames.shape[1:3]
    return ReadClip(
        [convert(np.ascontiguousarray(frame)) for frame in frames],
        [place[index] for index in indices],
        [seconds[place[index]] for index in indices],
        height,
        width,
        past_end,
    )


def _stream(path: Path) -> tuple[int, Orientation]:
    """The number of the video's stream, and how its first frame is to be shown."""
    with open_video(path) as (container, stream):
        first = next(decode(container, stream), None)
        if first is None:
            raise VideoError("damaged: not one frame could be decoded")
        return stream.index, orientation(first)


def _frame_range(decoder: Any, bounds: ClipBounds, count: int) -> tuple[int, int, bool]:
    """See `ClipBounds.frame_range`."""
    if bounds.start_seconds is None and bounds.end_seconds is None:
        return bounds.frame_range(range(count))  # by number: times do not matter
    # It offers no list of times, so all frames are decoded for a segment by seconds.
    times = [float(decoder.get_frame_at(i).pts_seconds) for i in range(count)]
    return bounds.frame_range([time - times[0] for time in times])
