"""Which packets of a file come out of the decoder as a frame, found without decoding them all.

Only files that give each packet a presentation time of its own (FFmpeg infers others, and infers
them otherwise after a seek), and only codecs whose packets tell whether they are shown. For
everything else the answer is None: count the frames by decoding.
"""

from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from stepcli.extract.decode.container import PLACEHOLDER, open_video
from stepcli.extract.decode.h264 import may_have_fields

HEAD = 6
"""Frames that are decoded to check that the first packets are what comes out first."""

B_FRAMES = 16
"""Frames that may be decoded after a frame and shown before it: encoders allow no more."""

_WITH_TIMES = ("mov", "matroska", "mpeg", "mpegts", "flv")
_FRAME_PICTURE = 3
"""picture_structure of MPEG-2: not a field (ISO/IEC 13818-2, table 6-14)."""


@dataclass(frozen=True, slots=True)
class ShownFrames:
    """The frames of a video as its packets promise them, in presentation order."""

    pts: list[int]
    """Strictly increasing."""
    keys: frozenset[int]
    """Those at which decoding can begin."""
    time_base: Any
    """Seconds per tick, a fraction."""


def shown_packets(path: Path, until: float | None = None) -> ShownFrames | None:
    """The frames of a video by its packets; None where packets do not tell.

    Args:
        path: of the video.
        until: seconds since its first frame; no more is read than gives all frames before.

    Raises:
        VideoError: the file cannot be opened.
    """
    with open_video(path, inferred=False) as (container, stream):
        if container.format.name.split(",")[0] not in _WITH_TIMES:
            return None
        is_shown = _rule(stream)
        if is_shown is None:
            return None
        head: list[int | None] = []
        ticks: list[int | None] = []
        keys = []
        decoding_time = end = None
        beyond = 0
        try:
            for packet in container.demux(stream):
                if len(head) < HEAD:
                    head += [frame.pts for frame in packet.decode()]
                if not packet.size or packet.is_discard:
                    continue
                if packet.dts is not None:
                    if decoding_time is not None and packet.dts < decoding_time:
                        return None  # the clock was set back: times are not the order
                    decoding_time = packet.dts
                found = is_shown(packet)
                if found is None:
                    return None
                if until is not None and packet.pts is not None:
                    end = packet.pts + until / stream.time_base if end is None else end
                    beyond += packet.pts >= end
                    if beyond > B_FRAMES:
                        break
                if found:
                    ticks.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
        except (av.error.FFmpegError, ValueError):
            return None  # decoding says at which frame
        depth = stream.codec_context.reorder_depth
        return _checked(head, ticks, keys, stream.time_base, depth)


def _checked(
    head: list[int | None], ticks: list[int | None], keys: list[int], time_base: Any, depth: int
) -> ShownFrames | None:
    known = [tick for tick in ticks if tick is not None]
    first = head[0] if head else None
    if first is None or len(known) < len(ticks) or len(set(known)) < len(known):
        return None
    if not _in_order(known, depth):
        return None
    # Leading pictures of an open group have no reference at the start, and never come out.
    pts = sorted(tick for tick in known if tick >= first)
    return ShownFrames(pts, frozenset(keys), time_base) if pts[: len(head)] == head else None


def _in_order(ticks: list[int], depth: int) -> bool:
    """Whether timestamps, in the order of decoding, are those of a decoder that reorders frames.

    At most `depth` frames are decoded before a frame and shown after it, and at most `B_FRAMES`
    the other way round. More: one of the timestamps is wrong, and then they do not tell in which
    order frames come out.
    """
    rank = {tick: number for number, tick in enumerate(sorted(ticks))}
    before: list[int] = []
    for number, tick in enumerate(ticks):
        place = bisect(before, tick)
        held_back = number - place
        overtaken = rank[tick] - place
        if held_back > depth or overtaken > B_FRAMES:
            return False
        before.insert(place, tick)
    return True


def _rule(stream: Any) -> Callable[[Any], bool | None] | None:
    """Packet -> whether it comes out as one frame (None: it cannot be told); None: no such rule."""
    context = stream.codec_context
    name = context.codec.canonical_name
    if context.codec.intra_only or name in ("hevc", "av1"):
        return _always
    if name == "h264":
        return None if may_have_fields(context.extradata or b"") else _always
    return {"vp8": _vp8, "vp9": _vp9, "mpeg4": _mpeg4, "mpeg2video": _mpeg2}.get(name)


def _always(packet: Any) -> bool:
    return True


def _vp8(packet: Any) -> bool:
    """RFC 6386, 9.1: bit 4 of a frame says whether it is shown."""
    return bool(memoryview(packet)[0] & 0x10)


def _vp9(packet: Any) -> bool | None:
    """VP9 bitstream, 6.2 and annex B: a superframe ends with an index and shows its last frame."""
    data = memoryview(packet)
    if data[-1] & 0xE0 == 0xC0:
        return True
    first = data[0]
    if first >> 6 != 2:
        return None
    if first & 0x30 == 0x30:  # profile 3: a reserved bit follows
        return bool(first & 0x04) or bool(first & 0x01)
    return bool(first & 0x08) or bool(first & 0x02)


def _mpeg4(packet: Any) -> bool | None:
    """A packet this small may say that nothing has changed, and then nothing comes out."""
    return True if packet.size > PLACEHOLDER else None


def _mpeg2(packet: Any) -> bool | None:
    """Fields are not told apart here: picture_structure of each picture coding extension."""
    data = bytes(packet)
    place = data.find(b"\0\0\1\xb5")
    while 0 <= place < len(data) - 7:
        if data[place + 4] >> 4 == 8:
            return True if data[place + 6] & 3 == _FRAME_PICTURE else None
        place = data.find(b"\0\0\1\xb5", place + 4)
    return None
