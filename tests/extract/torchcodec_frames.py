"""Every frame that torchcodec reads is the one that the rule names, as PyAV's is.

Not part of the suite, since torchcodec and FFmpeg's shared libraries are a user's own to install:

    pip install torchcodec==0.12.0      # built for a CPU; later wheels want CUDA's libraries
    apt-get install libavdevice59       # Debian 12: FFmpeg 5.1
    make torchcodec-check
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepcli.cache import open_store
from stepcli.extract.decode.clip_bounds import ClipBounds, read_segment
from stepcli.extract.decode.sampling import uniform
from stepcli.extract.decode.torchcodec_video import read_with_torchcodec
from stepcli.extract.decode.video import read_whole
from stepcli.runtime.errors import VideoError

COUNT = 53
TICKS = [7 * n * n + 3 * n for n in range(COUNT)]
ENCODINGS: dict[str, dict[str, Any]] = {
    "h264-b-frames.mp4": {"codec": "libx264", "options": {"bf": "3", "g": "12"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "variable-rate.mkv": {"ticks": TICKS, "options": {"bf": "2"}},
}
SEGMENTS = [
    ClipBounds(),
    ClipBounds(start_frame=20, end_frame=31),
    ClipBounds(start_seconds=0.4, end_seconds=1.2),
    ClipBounds(start_seconds=0.4),
]


def identity(image: np.ndarray) -> np.ndarray:
    return image


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize("name", ENCODINGS)
def test_frames_and_times_are_those_of_pyav(
    name: str, segment: ClipBounds, tmp_path: Path, write_numbered: Any, read_number: Any
) -> None:
    path = write_numbered(tmp_path / name, COUNT, **ENCODINGS[name])

    def pick(count: int) -> list[int]:
        return uniform(count, 6)

    found = read_with_torchcodec(path, segment, pick, identity)
    if segment.is_whole:
        expected = read_whole(path, pick, identity)
    else:
        expected = read_segment(path, segment, pick, identity)
    assert found.positions == expected.positions
    numbers = [read_number(image) for image in found.images]
    assert numbers == [read_number(image) for image in expected.images]
    if segment.is_whole:
        assert numbers == uniform(COUNT, 6)
    np.testing.assert_allclose(found.pts_seconds, expected.pts_seconds, atol=1e-3)
    assert (found.frame_height, found.frame_width) == (64, 96)


@pytest.mark.parametrize("data", [b"", b"no video" * 99])
def test_what_is_no_video_says_so(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"empty|not a video"):
        read_with_torchcodec(path, ClipBounds(), lambda n: uniform(n, 4), identity)


def test_a_store_made_with_it_is_nearly_that_of_pyav(extract: Any, tmp_path: Path) -> None:
    """The two FFmpegs may round colours differently: cosine of the tokens at least 0.999."""
    assert extract(store=tmp_path / "pyav") == 0
    assert extract(store=tmp_path / "torchcodec", decoder="torchcodec") == 0
    stores = [open_store(tmp_path / name) for name in ("pyav", "torchcodec")]
    first, second = (store.read(store.ids) for store in stores)
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    assert ((first * second).sum(-1) / norms).min() >= 0.999
