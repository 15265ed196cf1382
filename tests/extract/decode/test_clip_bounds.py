"""Segments of long videos: the exact frames, by time and by number, whatever the container."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepcli.extract.decode.clip_bounds import ClipBounds, read_segment
from stepcli.extract.decode.sampling import uniform
from stepcli.runtime.errors import VideoError

RATE = 25
COUNT = 600


def identity(image: np.ndarray) -> np.ndarray:
    return image


def every(available: int) -> list[int]:
    return list(range(available))


@pytest.fixture(
    scope="module",
    params=[
        # Ten minutes.
        ("long.mp4", {"count": 15_000, "options": {"preset": "ultrafast", "bf": "3", "g": "250"}}),
        ("open-gop.mkv", {"options": {"x264-params": "open-gop=1:bframes=3:keyint=40"}}),
        ("long.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "g": "60"}}),
        ("long.ts", {"options": {"bf": "2", "g": "50"}}),
        ("long.avi", {"codec": "mpeg4", "options": {"bf": "2", "g": "50"}}),
    ],
    ids=lambda param: param[0],
)
def video(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, write_numbered: Any
) -> Path:
    name, settings = request.param
    path: Path = write_numbered(
        tmp_path_factory.mktemp("long") / name, rate=RATE, **{"count": COUNT, **settings}
    )
    return path


@pytest.fixture
def count(video: Path) -> int:
    """Frames of the video."""
    return 15_000 if video.name == "long.mp4" else COUNT


def test_twenty_segments_by_frame_number(video: Path, count: int, read_number: Any) -> None:
    generator = np.random.default_rng(0)
    for start in generator.integers(0, count - 40, 20).tolist():
        stop = start + int(generator.integers(1, 40))
        clip = read_segment(video, ClipBounds(None, None, start, stop), every, identity)
        assert [read_number(image) for image in clip.images] == list(range(start, stop))
        np.testing.assert_allclose(clip.pts_seconds, np.arange(start, stop) / RATE, atol=2e-3)


def test_segments_by_time_are_half_open(video: Path, count: int, read_number: Any) -> None:
    for start, stop in [(0.0, 1.0), (3.2, 3.36), (10.0, 10.04), (count / RATE - 4.5, 9999.0)]:
        clip = read_segment(video, ClipBounds(start, stop), every, identity)
        numbers = [read_number(image) for image in clip.images]
        assert numbers == [n for n in range(count) if start - 1e-6 <= n / RATE < stop - 1e-6]


def test_open_ends(video: Path, count: int, read_number: Any) -> None:
    head = read_segment(video, ClipBounds(None, 0.2), every, identity)
    tail = read_segment(video, ClipBounds(start_frame=count - 3), every, identity)
    assert [read_number(image) for image in head.images] == [0, 1, 2, 3, 4]
    assert [read_number(image) for image in tail.images] == [count - 3, count - 2, count - 1]


def test_a_large_segment_is_decoded_twice_and_is_the_same(video: Path) -> None:
    segment = ClipBounds(None, None, 100, 180)
    kept = read_segment(video, segment, lambda n: uniform(n, 5), identity)
    twice = read_segment(video, segment, lambda n: uniform(n, 5), identity, keep_bytes=20_000)
    assert np.array_equal(kept.images, twice.images)


@pytest.mark.parametrize(
    "segment",
    [ClipBounds(900.0, 901.0), ClipBounds(None, None, 20_000, 20_005), ClipBounds(3.001, 3.002)],
)
def test_a_segment_without_a_frame_says_so(video: Path, segment: ClipBounds) -> None:
    with pytest.raises(VideoError, match="holds no frame of the video"):
        read_segment(video, segment, every, identity)
