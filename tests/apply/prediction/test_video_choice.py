"""Live streams: times only go forward, and the picture is the video's, not its cover's."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stepcli.apply.pictures.stored_frames import frames_at
from stepcli.apply.prediction.live_clock import LiveClock
from stepcli.apply.prediction.stream import open_stream
from stepcli.apply.prediction.windows import video_times
from stepcli.runtime.errors import VideoError


def shown(*times: float | None) -> list[float]:
    clock = LiveClock()
    return [round(clock.seconds(time), 6) for time in times]


def test_times_that_increase_are_kept() -> None:
    assert shown(5.0, 5.1, 5.5, 9.0) == [0.0, 0.1, 0.5, 4.0]


def test_a_bad_time_costs_itself_alone() -> None:
    assert shown(0.0, 0.1, 0.1, 0.3, 0.4) == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert shown(0.0, 0.1, None, 0.3) == [0.0, 0.1, 0.2, 0.3]
    assert shown(0.0, 0.1, -7.0, 0.3) == [0.0, 0.1, 0.2, 0.3]


def test_a_clock_that_is_set_back_goes_on() -> None:
    assert shown(9.0, 9.1, 0.0, 0.1, 0.2, 0.5) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.7]


def test_without_any_time_there_is_no_window() -> None:
    with pytest.raises(VideoError, match="no times"):
        shown(None)


@pytest.fixture
def two_videos(tmp_path: Path) -> Path:
    """A black comment of one frame before the video that a player shows, of three."""
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams: list[Any] = [container.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream, flag in zip(streams, ("comment", "default"), strict=True):
            stream.height, stream.width, stream.pix_fmt = 64, 96, "bgr0"
            stream.disposition = av.stream.Disposition[flag]
        for stream in (*streams, streams[1], streams[1]):
            image = np.full((64, 96, 3), 100 * stream.index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
    return path


def test_a_stream_is_the_video_that_a_player_shows(two_videos: Path) -> None:
    with open_stream(str(two_videos), None) as frames:
        assert [one.picture().max() for one in frames if not one.ended] == [100, 100, 100]


def test_predictions_are_about_the_video_that_a_player_shows(two_videos: Path) -> None:
    np.testing.assert_allclose(video_times(two_videos), [0, 0.04, 0.08])
    (pictures,) = frames_at(two_videos, [0.04])
    assert pictures.min() == 100
