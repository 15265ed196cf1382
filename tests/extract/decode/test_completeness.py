"""Whether a file is whole is judged by what can be shown; what ends early is still found."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from containers import joined, remux, with_cover, with_edit_list

from stepcli.extract.decode.packets import shown_packets
from stepcli.extract.decode.video import read_whole, times_of
from stepcli.runtime.errors import VideoError

JPEG = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}
FAST_START = {"movflags": "faststart"}
B_FRAMES = {"bf": "3", "g": "12"}


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def refused(path: Path, reason: str) -> None:
    with pytest.raises(VideoError, match=reason):
        read_whole(path, lambda n: [0], lambda image: image)


@pytest.mark.parametrize("share", [0.5, 0.6, 0.75])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("h264.mp4", {"options": B_FRAMES, "container_options": FAST_START}),
        ("mpeg4.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("mjpeg.avi", JPEG),
        ("h264.mkv", {"options": B_FRAMES}),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}}),
    ],
)
def test_a_file_that_ends_early_is_cut_off(
    name: str, settings: dict[str, Any], share: float, tmp_path: Path, write_numbered: Any
) -> None:
    refused(cut(write_numbered(tmp_path / name, 200, **settings), share), "cut off|damaged")


def test_a_trimmed_file_that_ends_early_is_cut_off(tmp_path: Path, write_numbered: Any) -> None:
    path = write_numbered(
        tmp_path / "v.mp4", 200, options={"g": "12"}, container_options=FAST_START
    )
    assert len(times_of(with_edit_list(path, 50 * 512)).seconds) == 150
    refused(cut(path, 0.7), "cut off|damaged")


def test_empty_chunks_do_not_hide_that_a_file_ends_early(
    tmp_path: Path, write_numbered: Any
) -> None:
    source = write_numbered(tmp_path / "steady.avi", 120, **JPEG)
    path = remux(source, tmp_path / "gaps.avi", lambda n, _: (2 * n, 2 * n))
    clip = read_whole(path, lambda n: list(range(n)), lambda image: image)
    np.testing.assert_allclose(clip.pts_seconds, np.arange(120) * 2 / 25)
    refused(cut(path, 0.6), "cut off|damaged")


def test_a_live_recording_announces_no_length(tmp_path: Path, write_numbered: Any) -> None:
    path = write_numbered(
        tmp_path / "live.webm", 60, codec="libvpx", container_options={"live": "1"}
    )
    assert len(times_of(path).seconds) == 60
    assert 20 < len(times_of(cut(path, 0.6)).seconds) < 60


def test_pictures_in_a_row_that_the_decoder_swallows_are_damage(
    tmp_path: Path, write_numbered: Any
) -> None:
    """Valid packets without a picture: nothing raises, and the middle of the video is missing."""
    source = write_numbered(tmp_path / "v.webm", 60, codec="libvpx", options={"g": "12"})
    hidden = remux(
        source,
        tmp_path / "hidden.webm",
        change=lambda n, data: bytes([data[0] & ~(0x10 if 20 <= n < 40 else 0)]) + data[1:] * 3,
    )
    refused(hidden, "damaged: 20 pictures in a row could not be decoded")


def test_a_song_with_a_cover_is_no_video(tmp_path: Path, write_numbered: Any) -> None:
    art = write_numbered(tmp_path / "cover.mjpeg", 1, **JPEG).read_bytes()
    song = tmp_path / "song.mp4"
    with av.open(str(song), "w") as container:
        stream: Any = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    tagged = with_cover(song, tmp_path / "tagged.mp4", art, first=False)
    refused(tagged, r"holds no video stream \(only a cover picture, audio\)")


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("h264.mp4", {"options": B_FRAMES}, True),
        ("open.mkv", {"options": {"x264-params": "open-gop=1:bframes=3:keyint=12"}}, True),
        ("hevc.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}, True),
        ("vp8.webm", {"codec": "libvpx"}, True),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}}, True),
        ("mjpeg.mov", JPEG, True),
        ("fields.mp4", {"options": {"x264-params": "interlaced=1"}}, False),
        ("mpeg2.ts", {"codec": "mpeg2video"}, True),
        ("h264.ts", {"options": B_FRAMES}, True),
        ("h264.flv", {"options": B_FRAMES}, True),
        ("fields.ts", {"options": {"x264-params": "interlaced=1"}}, False),
        ("several-a-packet.mpg", {"codec": "mpeg2video"}, False),
        ("mpeg4.avi", {"codec": "mpeg4"}, False),
    ],
)
def test_packets_are_believed_only_where_they_tell(
    name: str, settings: dict[str, Any], told: bool, tmp_path: Path, write_numbered: Any
) -> None:
    """Ordinary files are not decoded to find where their frames lie."""
    path = write_numbered(tmp_path / name, 30, **settings)
    found = shown_packets(path)
    assert (found is not None) is told
    if found is not None:
        assert found.pts == times_of(path).pts


def test_a_custom_quantiser_matrix_does_not_hide_that_there_are_no_fields(
    tmp_path: Path, write_numbered: Any
) -> None:
    path = write_numbered(tmp_path / "v.mp4", 8, options={"x264-params": "cqm=jvt"})
    assert shown_packets(path) is not None


def test_two_joined_bare_streams_are_as_long_as_both(tmp_path: Path, write_numbered: Any) -> None:
    parts = [write_numbered(tmp_path / f"{n}.h264", 20, options=B_FRAMES) for n in range(2)]
    seconds = times_of(joined(tmp_path / "both.h264", *parts)).seconds
    np.testing.assert_allclose(seconds, np.arange(40) / 25)
