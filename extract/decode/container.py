"""A video file opened, its video stream chosen, decoded from end to end, and found complete or not.

A header's count of frames is no measure of completeness: it counts pictures that an edit list
hides, empty chunks, pictures that only help others. A file is cut off where what it lists lies
beyond its end, and damaged where pictures in a row did not come out of the decoder.
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from stepcli.extract.decode.announced import matroska_lost, riff_lost
from stepcli.extract.decode.times import Times, frame_times
from stepcli.runtime.errors import VideoError

LOST_FRAMES = 0.05
"""Share of the pictures that may be missing before a file counts as cut off or damaged: AVI with
packed B-frames announces one or two more than there are."""

PLACEHOLDER = 16
"""Bytes of a packet that may hold no picture: the "as before" of MPEG-4 in AVI takes 1 to 8."""

_PLAYLISTS = frozenset({"concat", "hls", "dash", "applehttp", "lavfi", "tee"})
_STILL = frozenset({"attached_pic", "timed_thumbnails"})


@contextmanager
def open_video(path: Path, *, inferred: bool = True) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream, decoded on one thread; closed at the end.

    Args:
        path: any file.
        inferred: give packets without a timestamp the one that FFmpeg infers for them.

    Raises:
        VideoError: not a regular file, unreadable, empty, a picture, a playlist, without video.
    """
    require_file(path)
    options = {"protocol_whitelist": "file"}
    if not inferred:
        options["fflags"] = "+nofillin"
    try:
        container = av.open(
            str(path.absolute()),
            metadata_errors="ignore",  # titles in old code pages are no reason to fail
            options=options,
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(f"not a video that FFmpeg can open ({_reason(error)})") from error
    try:
        kind = container.format.name
        if kind.endswith("_pipe") or kind.startswith("image2"):
            raise VideoError(f"a picture ({kind}), not a video")
        if _PLAYLISTS.intersection(kind.split(",")):
            raise VideoError(f"a playlist ({kind}), not a video")
        stream = video_stream(container)
        stream.codec_context.thread_count = 1  # many clips at once beat many threads a clip
        yield container, stream
    finally:
        container.close()


def require_file(path: Path) -> None:
    """Refuse what is no regular file with bytes in it, before FFmpeg blocks on it."""
    try:
        found = path.stat()
    except OSError as error:
        raise VideoError(f"cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "folder" if stat.S_ISDIR(found.st_mode) else "pipe, socket or device"
        raise VideoError(f"a {kind}, not a file")
    if found.st_size == 0:
        raise VideoError("the file is empty (0 bytes)")


def video_stream(container: Any) -> Any:
    """The stream that a player would show: FFmpeg's best one, never a cover picture.

    Raises:
        VideoError: there is none, or its codec is unknown to this FFmpeg.
    """
    moving = [stream for stream in container.streams.video if not _is_still(stream)]
    if not moving:
        kinds = {stream.type for stream in container.streams if stream.type != "video"}
        if container.streams.video:
            kinds.add("a cover picture")
        raise VideoError(f"holds no video stream (only {', '.join(sorted(kinds)) or 'nothing'})")
    best = container.streams.best("video")
    stream = best if best in moving else moving[0]
    if stream.codec_context is None:
        raise VideoError("the video's codec is not known to this FFmpeg")
    return stream


def _is_still(stream: Any) -> bool:
    return any(flag.name in _STILL for flag in stream.disposition)


class Decoding:
    """One pass of a stream through its decoder, and what can be said once it has ended.

    Args:
        container: as `open_video` gave it; decoded from its current position.
        stream: the video.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._stream = container, stream
        self._ticks: list[int | None] = []
        self._packets: list[tuple[int | None, int, bool]] = []  # those to be shown: pts, size, key
        self._delivered = 0
        self._slots = 0

    def frames(self) -> Iterator[Any]:
        """Raw frames in presentation order.

        Raises:
            VideoError: the decoder gave up; says after how many frames.
        """
        ticks, packets = self._ticks, self._packets
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    self._delivered += 1
                    if packet.dts is not None:
                        self._slots = max(self._slots, packet.dts + 1)
                    if not packet.is_discard:
                        packets.append((packet.pts, packet.size, packet.is_keyframe))
                for frame in packet.decode():
                    ticks.append(frame.pts)
                    yield frame
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(
                f"damaged: decoding failed after {len(ticks)} frames ({_reason(error)})"
            ) from error

    @property
    def _is_avi(self) -> bool:
        return bool(self._container.format.name == "avi")

    def times(self) -> Times:
        """When each decoded frame is shown; call it after the last one.

        Raises:
            VideoError: neither usable timestamps nor a frame rate.
        """
        stream = self._stream
        rate = stream.average_rate or stream.guessed_rate
        # AVI has slots instead of times: with B-frames, what PyAV shows are those of decoding.
        steady = self._is_avi and self._slots <= self._delivered
        return frame_times(self._ticks, stream.time_base, rate, steady=steady)

    def require_complete(self) -> None:
        """Refuse a video of which little came out; call it after the last frame.

        Raises:
            VideoError: no frame, a file that ends early, pictures in a row that could not be
                decoded.
        """
        if not self._ticks:
            raise VideoError("damaged: not one frame could be decoded")
        if (
            self._container.format.name.startswith("matroska")
            and (share := matroska_lost(self._container.name, self._container.size)) > LOST_FRAMES
        ):
            raise VideoError(f"cut off: {share:.0%} of the bytes that it announces are not in it")
        if missing := self._beyond_the_end():
            raise VideoError(
                f"cut off: the file announces {self._stream.frames} frames, {len(self._ticks)} "
                f"could be decoded and {missing} are not in it"
            )
        if lost := self._lost_in_a_row():
            raise VideoError(f"damaged: {lost} pictures in a row could not be decoded")

    def _beyond_the_end(self) -> int:
        """Pictures that the file lists and does not hold; 0 where they are few."""
        announced, kind = self._stream.frames, self._container.format.name
        allowed = max(2, LOST_FRAMES * announced)
        missing = int(announced - max(self._delivered, self._slots if self._is_avi else 0))
        size = self._container.size
        if kind.startswith("mov"):
            if len(self._ticks) + allowed >= announced:
                return 0
            entries = self._stream.index_entries
            missing = sum(entry.pos + entry.size > size for entry in entries)
        elif self._is_avi and not riff_lost(self._container.name, size):
            return 0
        return missing if missing > allowed else 0

    def _lost_in_a_row(self) -> int:
        """The longest run of pictures that the decoder took and never showed; 0 where it is short.

        Pictures before the first key frame are not counted: nothing can be made of them.
        """
        whole = sum(size > PLACEHOLDER for _, size, _ in self._packets)
        allowed = max(2, LOST_FRAMES * whole)
        if whole <= len(self._ticks) + allowed:
            return 0
        if self._is_avi:  # its packets do not say which frame is theirs
            return whole - len(self._ticks)
        first = next((pts for pts, _, key in self._packets if key and pts is not None), None)
        if first is None:
            return 0
        shown, longest, run = set(self._ticks), 0, 0
        timed = [(pts, size) for pts, size, _ in self._packets if pts is not None and pts >= first]
        for pts, size in sorted(timed):
            if pts in shown:
                run = 0
            elif size > PLACEHOLDER:
                run += 1
                longest = max(longest, run)
        return longest if longest > allowed else 0


def decode(container: Any, stream: Any) -> Iterator[Any]:
    """Raw frames in presentation order, from the container's current position.

    Raises:
        VideoError: the decoder gave up; says after how many frames.
    """
    return Decoding(container, stream).frames()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
