"""Every sampled frame is the one that a plain decode of the whole file gives.

Numbered frames in many containers and codecs, among them those that cut, hide, repeat or join;
each is read whole, by frame number and by time.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from containers import joined, remux, with_block_time, with_cover, with_edit_list, with_edits

from stepcli.extract.decode.clip_bounds import ClipBounds, read_segment
from stepcli.extract.decode.video import read_whole, times_of

COUNT = 60
GROUP = {"g": "12"}
B_FRAMES = {"g": "12", "bf": "3"}
MPEG2 = {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}}
X265 = "log-level=none:keyint=12:bframes=3"
JPEG = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}

PLAIN: dict[str, dict[str, Any]] = {
    "h264.mp4": {"options": B_FRAMES},
    "h264.mov": {"options": B_FRAMES, "pix_fmt": "yuv444p"},
    "h264.mkv": {"options": B_FRAMES},
    "h264.avi": {"options": B_FRAMES},
    "h264.ts": {"options": B_FRAMES},
    "h264.flv": {"options": B_FRAMES},
    "bare.h264": {"options": B_FRAMES},
    "fragments.mp4": {
        "options": B_FRAMES,
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
    },
    "open-group.mp4": {"options": {"x264-params": "open-gop=1:bframes=3:keyint=12"}},
    "intra-refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}},
    "interlaced.mkv": {"options": {"x264-params": "interlaced=1:bframes=2:keyint=12"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": X265}},
    "hevc-open-group.mkv": {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=1"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "mpeg4.3gp": {"codec": "mpeg4", "options": GROUP},
    "mpeg2.mpg": MPEG2,
    "mpeg2.ts": MPEG2,
    "mpeg2.mxf": MPEG2,
    "mpeg1.mpg": {"codec": "mpeg1video", "options": {"g": "12", "bf": "2"}},
    "vp8.webm": {"codec": "libvpx", "options": GROUP},
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "options": {"g": "12", "deadline": "good", "cpu-used": "8", "lag-in-frames": "8"},
    },
    "vp9-live.webm": {
        "codec": "libvpx-vp9",
        "options": {"g": "12", "deadline": "realtime", "cpu-used": "8"},
        "container_options": {"live": "1"},
    },
    "mjpeg.avi": JPEG,
    "mjpeg.mov": JPEG,
    "ffv1.mkv": {"codec": "ffv1"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "wmv2.wmv": {"codec": "wmv2", "options": GROUP},
    "vp8.ogv": {"codec": "libvpx", "options": GROUP},
    "flv1.flv": {"codec": "flv", "options": GROUP},
    "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "variable-rate.mp4": {"ticks": [7 * n + n * n // 9 for n in range(COUNT)], "options": B_FRAMES},
    "lossless.nut": {"codec": "ffvhuff"},
}


class Makers:
    """Videos whose container does not say what a player shows; one method per situation."""

    def __init__(self, folder: Path, numbered: Any) -> None:
        self.folder, self.numbered = folder, numbered

    def video(self, name: str, *, count: int = COUNT, first: int = 0, **settings: Any) -> Path:
        made: Path = self.numbered(self.folder / name, count, first=first, **settings)
        return made

    def edit_list(self) -> Path:
        """Its first 20 frames are hidden (a trim without encoding)."""
        return with_edit_list(self.video("trimmed.mp4", options=B_FRAMES), 20 * 512)

    def negative_times(self) -> Path:
        """The same by a muxer that leaves out what nobody needs: fewer packets than announced."""
        source = self.video("whole.mp4", options=B_FRAMES)
        return remux(
            source,
            self.folder / "negative.mp4",
            lambda _, packet: (packet.pts - 20 * 512, packet.dts - 20 * 512),
            avoid_negative_ts="disabled",
        )

    def empty_chunks(self) -> Path:
        """Dropped frames of a capture card: slots without a picture."""
        source = self.video("steady.avi", **JPEG)
        return remux(
            source, self.folder / "empty-chunks.avi", lambda n, _: (n + n // 6, n + n // 6)
        )

    def hidden_vp8(self) -> Path:
        """Pictures that only help others, as alternate reference frames do."""
        source = self.video("seen.webm", codec="libvpx", options=GROUP)
        hide = {0: 0, 5: 0x10}
        return remux(
            source,
            self.folder / "hidden.webm",
            change=lambda n, data: bytes([data[0] & ~hide.get(n % 8, 0)]) + data[1:],
        )

    def hidden_vp9(self) -> Path:
        """The same for VP9, outside a superframe."""
        options = {"g": "12", "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
        source = self.video("seen9.webm", codec="libvpx-vp9", options=options)
        return remux(
            source,
            self.folder / "hidden9.webm",
            change=lambda n, data: bytes([data[0] & ~(0x02 if n % 8 == 5 else 0)]) + data[1:],
        )

    def open_group_first(self) -> Path:
        """Cut at an open group: its leading pictures lack what they refer to."""
        source = self.video("open.mkv", **PLAIN["open-group.mp4"])
        return self._from_packet(source, 12)

    def open_hevc_group_first(self) -> Path:
        """The same with HEVC's skipped leading pictures."""
        return self._from_packet(self.video("open265.mkv", **PLAIN["hevc-open-group.mkv"]), 12)

    def _from_packet(self, source: Path, first: int) -> Path:
        return remux(
            source,
            self.folder / f"late-{source.name}",
            lambda n, packet: None if n < first else (packet.pts, packet.dts or packet.pts),
        )

    def repeated_time(self) -> Path:
        """Two frames at the same millisecond."""
        source = self.video("timed.mkv", codec="libvpx", options=GROUP)
        return remux(
            source,
            self.folder / "repeated.mkv",
            lambda n, packet: (packet.pts - 40 * (n == 20),) * 2,
        )

    def time_far_ahead(self) -> Path:
        """One frame claims to be shown long after the end."""
        return with_block_time(self.video("ahead.mkv", codec="libvpx", options=GROUP), 20, 9000)

    def time_far_behind(self) -> Path:
        """One frame claims to be shown among the first."""
        return with_block_time(self.video("behind.mkv", codec="libvpx", options=GROUP), 30, 50)

    def time_a_little_ahead(self) -> Path:
        """One frame claims to be shown behind the next two."""
        return with_block_time(self.video("little.mkv", codec="libvpx", options=GROUP), 30, 1290)

    def time_far_ahead_among_b_frames(self) -> Path:
        """The same where packets are not in the order of presentation anyway."""
        source = self.video("reordered.mp4", options=B_FRAMES)
        return remux(
            source,
            self.folder / "ahead.mp4",
            lambda n, packet: (packet.pts + 90000 * (n == 21), packet.dts),
        )

    def joined_rates(self) -> Path:
        """A stream of 25 and one of 50 frames per second: the clock is set back between them."""
        return joined(
            self.folder / "joined.ts",
            self.video("first.ts", count=40, **MPEG2),
            self.video("second.ts", count=40, first=40, rate=50, **MPEG2),
        )

    def joined_bare(self) -> Path:
        """H.264 without a container, twice: no timestamp anywhere."""
        parts = (
            self.video(f"{n}.h264", count=30, first=30 * n, options=B_FRAMES) for n in range(2)
        )
        return joined(self.folder / "joined.h264", *parts)

    def every_packet_a_key(self) -> Path:
        """A muxer that marks every packet as a key frame: decoding cannot begin at most of them."""
        source = self.video("honest.webm", codec="libvpx-vp9", options=PLAIN["vp9.webm"]["options"])
        return remux(source, self.folder / "keys.webm", is_key=lambda _: True)

    def no_packet_a_key(self) -> Path:
        """The opposite: a seek finds nothing to go to."""
        source = self.video("plain.webm", codec="libvpx", options=GROUP)
        return remux(source, self.folder / "no-keys.webm", is_key=lambda _: False)

    def repeated_edit(self) -> Path:
        """The same 20 frames shown twice, as an editor repeats a stretch."""
        source = self.video("once.mp4", options=B_FRAMES)
        return with_edits(source, self.folder / "twice.mp4", [(800, 20 * 512), (800, 20 * 512)])

    def edits_out_of_order(self) -> Path:
        """A later stretch before an earlier one."""
        source = self.video("ordered.mp4", options=B_FRAMES)
        return with_edits(source, self.folder / "moved.mp4", [(800, 36 * 512), (800, 5 * 512)])

    def empty_edit(self) -> Path:
        """It begins two seconds later than its sound."""
        source = self.video("early.mp4", options=B_FRAMES)
        return with_edits(source, self.folder / "late.mp4", [(2000, -1), (2400, 0)])

    def lost_packets(self) -> Path:
        """Three packets are missing in the middle."""
        source = self.video("kept.mp4", options=B_FRAMES)
        return remux(
            source,
            self.folder / "lost.mkv",
            lambda n, packet: None if n in (20, 21, 33) else (packet.pts, packet.dts),
        )

    def small_packets(self) -> Path:
        """MPEG-2 in a program stream at so few bytes that several frames share a PES packet."""
        options = {"g": "12", "bf": "2", "qmin": "31", "qmax": "31"}
        return self.video("small.mpg", codec="mpeg2video", options=options)

    def cover_first(self) -> Path:
        """Cover art that stands before the track."""
        art = self.video("cover.jpg.mjpeg", count=1, first=9999, **JPEG).read_bytes()
        plain = self.video("tagged.mp4", options=B_FRAMES)
        return with_cover(plain, self.folder / "cover-first.mp4", art, first=True)

    def two_sizes(self) -> Path:
        """The second video stream is the one that a player shows."""
        path = self.folder / "two.mkv"
        with av.open(str(path), "w") as container:
            streams: list[Any] = [container.add_stream("ffv1", rate=25) for _ in range(2)]
            for stream, default in zip(streams, (False, True), strict=True):
                stream.height, stream.width, stream.pix_fmt = 64, 96, "bgr0"
                flags = av.stream.Disposition
                stream.disposition = flags.default if default else flags.comment
            for number in range(40):
                for stream in streams:
                    image = np.full((64, 96, 3), 3 * number + stream.index, np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        return path


ODD = [name for name in vars(Makers) if name[0] != "_" and name != "video"]
# What a player shows where that is not COUNT.
FRAMES = {"edit_list": 40, "negative_times": 40, "joined_rates": 80, "two_sizes": 40}
FRAMES |= {"repeated_edit": 40, "edits_out_of_order": 40, "lost_packets": 57}
FRAMES |= {"open_group_first": 36, "open_hevc_group_first": 36, "hidden_vp8": 53, "hidden_vp9": 53}


def identity(image: np.ndarray) -> np.ndarray:
    return image


def every(available: int) -> list[int]:
    return list(range(available))


def decoded(path: Path) -> tuple[list[np.ndarray], list[float] | None]:
    """All frames as RGB by PyAV alone, and their times where the file has usable ones."""
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        frames = [
            (frame.pts, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)
        ]
        base = stream.time_base
    ticks = [pts for pts, _ in frames]
    images = [image for _, image in frames]
    if None in ticks or any(before >= after for before, after in pairwise(ticks)):
        return images, None
    return images, [float((tick - ticks[0]) * base) for tick in ticks]


@pytest.fixture(scope="module", params=[*PLAIN, *ODD])
def video(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, write_numbered: Any
) -> tuple[str, Path]:
    makers = Makers(tmp_path_factory.mktemp("truth"), write_numbered)
    name = request.param
    if name in PLAIN:
        return name, makers.video(name, **PLAIN[name])
    make: Callable[[], Path] = getattr(makers, name)
    return name, make()


def test_every_sampled_frame_is_that_of_a_plain_decode(video: tuple[str, Path]) -> None:
    name, path = video
    images, known = decoded(path)
    assert len(images) == FRAMES.get(name, COUNT)
    whole = read_whole(path, every, identity)
    assert np.array_equal(whole.images, images)
    seconds = whole.pts_seconds
    assert all(before < after for before, after in pairwise(seconds))
    if known is not None:
        assert seconds == known
    assert seconds == times_of(path).seconds
    for start in range(0, len(images) - 5, 4):  # on key frames, before and behind them
        stop = start + 1 + start % 5
        by_frame = read_segment(path, ClipBounds(None, None, start, stop), every, identity)
        assert np.array_equal(by_frame.images, images[start:stop]), (start, stop)
        assert by_frame.pts_seconds == seconds[start:stop]
        by_time = ClipBounds(seconds[start], seconds[stop])
        timed = read_segment(path, by_time, every, identity)
        assert np.array_equal(timed.images, images[start:stop]), by_time
    tail = read_segment(path, ClipBounds(start_frame=len(images) - 3), every, identity)
    assert np.array_equal(tail.images, images[-3:])


def test_there_are_at_least_twenty_situations() -> None:
    assert len(PLAIN) >= 20
    assert len(ODD) >= 10
