"""Every frame that is read is the one that the rule names: frames carry their number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from containers import with_matrix

from stepcli.extract.decode.container import decode, open_video
from stepcli.extract.decode.orientation import shrunk, upright
from stepcli.extract.decode.sampling import uniform
from stepcli.extract.decode.video import read_whole
from stepcli.runtime.errors import VideoError

ENCODINGS: dict[str, dict[str, Any]] = {
    "h264-b-frames.mp4": {"codec": "libx264", "options": {"bf": "3", "g": "12"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "ten-bit.mkv": {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}


def identity(image: np.ndarray) -> np.ndarray:
    return image


@pytest.mark.parametrize("name", ENCODINGS)
def test_frames_are_those_that_the_rule_names(
    name: str, tmp_path: Path, write_numbered: Any, read_number: Any
) -> None:
    path = write_numbered(tmp_path / name, 53, **ENCODINGS[name])
    clip = read_whole(path, lambda n: uniform(n, 8), identity)
    expected = uniform(53, 8)
    assert [read_number(clip.images[position]) for position in clip.positions] == expected
    np.testing.assert_allclose(clip.pts_seconds, np.array(expected) / 25, atol=2e-3)
    assert (clip.frame_height, clip.frame_width) == (64, 96)


def test_variable_frame_rate_keeps_the_real_times(
    tmp_path: Path, write_numbered: Any, read_number: Any
) -> None:
    gaps = np.random.default_rng(0).integers(10, 200, 40)
    ticks = [int(tick) for tick in np.cumsum(gaps)]
    path = write_numbered(tmp_path / "vfr.mkv", 40, ticks=ticks, options={"bf": "2"})
    clip = read_whole(path, lambda n: uniform(n, 8), identity)
    expected = uniform(40, 8)
    assert [read_number(image) for image in clip.images] == expected
    times = [(ticks[index] - ticks[0]) / 1000 for index in expected]
    np.testing.assert_allclose(clip.pts_seconds, times, atol=1e-3)


def test_a_clip_larger_than_the_memory_allowed_is_decoded_twice_and_is_the_same(
    tmp_path: Path, write_numbered: Any
) -> None:
    path = write_numbered(tmp_path / "long.mp4", 60, options={"bf": "3"})
    kept = read_whole(path, lambda n: uniform(n, 6), identity)
    twice = read_whole(path, lambda n: uniform(n, 6), identity, keep_bytes=20_000)
    assert twice.positions == kept.positions
    assert twice.pts_seconds == kept.pts_seconds
    assert np.array_equal(twice.images, kept.images)


def test_a_short_clip_repeats_frames_and_each_is_converted_once(
    tmp_path: Path, write_numbered: Any
) -> None:
    calls = []

    def count(image: np.ndarray) -> np.ndarray:
        calls.append(image.shape)
        return image

    path = write_numbered(tmp_path / "short.mp4", 3)
    clip = read_whole(path, lambda n: uniform(n, 8), count)
    assert clip.positions == [0, 0, 0, 1, 1, 2, 2, 2]
    assert len(clip.images) == len(calls) == 3


TURNED = {
    (1, 0, 0, 1): lambda image: image,
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),
    (-1, 0, 0, -1): lambda image: np.rot90(image, 2),
    (0, -1, 1, 0): np.rot90,
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda image: image[::-1, ::-1].transpose(1, 0, 2),
}
"""Display matrix (a, b, c, d) -> what a player does: column p, row q are shown at column
a p + c q and row b p + d q."""


@pytest.mark.parametrize("matrix", TURNED)
def test_display_matrices_are_obeyed(
    matrix: tuple[int, int, int, int], tmp_path: Path, write_numbered: Any
) -> None:
    """Phones film sideways, front cameras mirrored, and leave a matrix in the track's header."""
    plain = write_numbered(tmp_path / "plain.mp4", 4, first=0b1011)
    coded = read_whole(plain, lambda n: [0], identity).images[0]
    turned = with_matrix(plain, tmp_path / "turned.mp4", matrix)
    clip = read_whole(turned, lambda n: [0], identity)
    assert np.array_equal(clip.images[0], TURNED[matrix](coded))
    assert (clip.frame_height, clip.frame_width) == clip.images[0].shape[:2]


@pytest.mark.parametrize("matrix", TURNED)
def test_a_shrunk_frame_is_the_upright_one_at_twice_the_sides_wanted(
    matrix: tuple[int, int, int, int], tmp_path: Path, write_video: Any
) -> None:
    ramp = np.linspace(20, 235, 96 * 160 * 3).reshape(96, 160, 3).astype(np.uint8)
    plain = write_video(tmp_path / "plain.mp4", [ramp])
    with open_video(with_matrix(plain, tmp_path / "turned.mp4", matrix)) as (container, stream):
        (frame,) = decode(container, stream)

    def fourth(height: int, width: int) -> tuple[int, int]:
        return height // 4, width // 4

    whole = upright(frame)
    small = shrunk(frame, fourth)
    assert small.shape == (whole.shape[0] // 2, whole.shape[1] // 2, 3)
    means = whole.reshape(small.shape[0], 2, small.shape[1], 2, 3).mean((1, 3))
    assert np.abs(small - means).max() <= 4
    assert np.array_equal(shrunk(frame, lambda height, width: (height // 2, width // 2)), whole)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: path.write_text("hello\n" * 99), "not a video"),
    ],
)
def test_what_is_no_video_says_so(make: Callable[[Path], Any], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(VideoError, match=reason):
        read_whole(path, lambda n: uniform(n, 4), identity)
