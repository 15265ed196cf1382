"""The length of a recording from its ends is that which reading all of it gives."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from stepcli.extract.decode import length
from stepcli.extract.decode.grid import time_of
from stepcli.extract.decode.length import length_of
from stepcli.extract.decode.video import times_of
from stepcli.runtime.errors import VideoError

WriteVideo = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "rate", "how", "told"),
    [
        ("a.mp4", 25, {}, True),
        ("frag.mp4", 25, {"container_options": {"movflags": "frag_keyframe+empty_moov"}}, True),
        ("a.mkv", 30, {}, True),
        ("a.webm", 24, {"codec": "libvpx"}, True),
        ("a.avi", 12, {"codec": "mpeg4"}, True),
        ("b-frames.avi", 25, {}, True),
        ("a.ts", 10, {}, True),
        ("a.mpg", 25, {"codec": "mpeg2video"}, True),
        ("live.mkv", 30, {"container_options": {"live": "1"}}, False),
        ("bare.h264", 25, {}, False),
    ],
)
def test_it_is_that_of_all_frames(
    write_numbered: WriteVideo,
    tmp_path: Path,
    name: str,
    rate: int,
    how: dict[str, str],
    told: bool,
) -> None:
    path = write_numbered(tmp_path / name, 53, rate=rate, **how)
    seconds = times_of(path).seconds
    found = length_of(path)
    assert found.seconds == pytest.approx(time_of(seconds, len(seconds)), abs=1e-9)
    assert (found.frames, found.told) == (53, told)


def test_sound_that_lasts_longer_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for _ in range(20):
            image = np.zeros((64, 64, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * 7), np.int16), layout="mono")
        quiet.sample_rate = 8000
        container.mux(sound.encode(quiet))
        container.mux(sound.encode())
    assert length_of(path).seconds == 2.0


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi"])
def test_times_that_are_all_the_same_are_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        packets = []
        for number in range(40):
            image = np.full((64, 64, 3), number, np.uint8)
            packets += stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
        for packet in [*packets, *stream.encode()]:
            packet.pts = packet.dts = 0
            container.mux(packet)
    assert len(times_of(path).seconds) == 40
    found = length_of(path)  # its rate depends on how much has been read
    assert found.frames == 40


def test_the_beginning_tells_of_the_rest(
    write_numbered: WriteVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_numbered(tmp_path / "a.mkv", 400, container_options={"live": "1"})
    monkeypatch.setattr(length, "BEGINNING_BYTES", path.stat().st_size // 3)
    found = length_of(path)
    assert not found.told
    assert found.seconds == pytest.approx(16, rel=0.2)
    assert found.frames == pytest.approx(400, rel=0.2)


def test_a_file_without_its_end_is_estimated(write_numbered: WriteVideo, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", 400, container_options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    found = length_of(path)
    assert not found.told
    assert 0 < found.seconds < 16


def test_one_frame_and_none(write_numbered: WriteVideo, tmp_path: Path) -> None:
    assert length_of(write_numbered(tmp_path / "a.mp4", 1)).frames == 1
    (tmp_path / "b.mp4").write_bytes(b"no video at all")
    with pytest.raises(VideoError, match="not a video"):
        length_of(tmp_path / "b.mp4")
