"""Containers rewritten packet by packet or byte by byte, as cutters, phones and recorders do."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av

Retime = Callable[[int, Any], tuple[int, int] | None]
"""Number of a packet and the packet -> its pts and dts, or None to leave it out."""


def remux(
    source: Path,
    target: Path,
    retime: Retime = lambda number, packet: (packet.pts, packet.dts),
    change: Callable[[int, bytes], bytes] = lambda number, data: data,
    is_key: Callable[[Any], bool] = lambda packet: packet.is_keyframe,
    **options: str,
) -> Path:
    """Copy a video's packets into another file, with other times or bytes."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        packets = [packet for packet in old.demux(stream) if packet.size]
        for number, packet in enumerate(packets):
            times = retime(number, packet)
            if times is None:
                continue
            made: Any = av.Packet(change(number, bytes(packet)))
            made.pts, made.dts = times
            made.time_base, made.is_keyframe = packet.time_base, is_key(packet)
            made.stream = copy
            new.mux(made)
    return target


def joined(target: Path, *parts: Path) -> Path:
    """The files one after the other, as `cat` does."""
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


def with_block_time(path: Path, number: int, milliseconds: int) -> Path:
    """A Matroska file of one cluster with another time on one of its packets."""
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    place = data.index(packets[number]) - 3  # before the flags of its block
    struct.pack_into(">h", data, place, milliseconds)
    path.write_bytes(data)
    return path


def with_edit_list(path: Path, media_time: int) -> Path:
    """An MP4 whose only edit begins that many ticks of the track later."""
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 4 + 4 + 4 + 4
    (start,) = struct.unpack_from(">i", data, place)
    struct.pack_into(">i", data, place, start + media_time)
    path.write_bytes(data)
    return path


def with_edits(source: Path, target: Path, edits: list[tuple[int, int]]) -> Path:
    """An MP4 whose track is shown by these edits: milliseconds each, and ticks where it begins.

    A beginning of -1 shows nothing. Counted from the one edit that the source has; moov stands
    at the end, so it may grow.
    """
    data = source.read_bytes()
    place = data.index(b"elst") + 4
    (delay,) = struct.unpack_from(">i", data, place + 12)
    entries = [
        struct.pack(">iii", length, start if start < 0 else start + delay, 1 << 16)
        for length, start in edits
    ]
    grown = 12 * (len(entries) - 1)
    body = struct.pack(">II", 0, len(entries)) + b"".join(entries)
    data = data[:place] + body + data[place + 20 :]
    for name in (b"moov", b"trak", b"edts", b"elst"):
        size = data.index(name) - 4
        number = int.from_bytes(data[size : size + 4], "big") + grown
        data = data[:size] + number.to_bytes(4, "big") + data[size + 4 :]
    target.write_bytes(data)
    return target


def with_matrix(source: Path, target: Path, matrix: tuple[int, int, int, int]) -> Path:
    """An MP4 whose track is shown through the matrix (a, b, c, d)."""
    data = bytearray(source.read_bytes())
    start = data.index(b"tkhd") + 4 + 4 + 20 + 16
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target


def with_cover(source: Path, target: Path, picture: bytes, *, first: bool) -> Path:
    """An MP4 of the first stream and cover art, whose tags stand before the track or after it."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams[0]
        copy = new.add_stream_from_template(stream)
        cover: Any = new.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 64, 96, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        art: Any = av.Packet(picture)
        art.pts = art.dts = 0
        art.time_base, art.is_keyframe, art.stream = stream.time_base, True, cover
        new.mux(art)
        for packet in old.demux(stream):
            if packet.size:
                packet.stream = copy
                new.mux(packet)
    if first:
        target.write_bytes(_tags_first(target.read_bytes()))
    return target


def _tags_first(data: bytes) -> bytes:
    """The boxes of moov with udta directly after mvhd; offsets stay, since moov keeps its size."""
    start = data.index(b"moov") - 4
    end = start + int.from_bytes(data[start : start + 4], "big")
    boxes, place = [], start + 8
    while place < end:
        size = int.from_bytes(data[place : place + 4], "big")
        boxes.append(data[place : place + size])
        place += size
    order = {b"mvhd": 0, b"udta": 1}
    boxes.sort(key=lambda box: order.get(box[4:8], 2))
    return data[: start + 8] + b"".join(boxes) + data[end:]
