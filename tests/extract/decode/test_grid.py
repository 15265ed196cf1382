"""Which frame each step of a recording shows, and that the decoder runs once."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stepcli.extract.decode import reader
from stepcli.extract.decode.grid import on_grid, steps_of
from stepcli.extract.decode.isolated import GridPictures, grid_frames
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.runtime.errors import VideoError

PLAN = PixelPlan(
    resize_short=0,
    resize_height=64,
    resize_width=96,
    resample="bilinear",
    crop_height=0,
    crop_width=0,
    scale=1 / 255,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


def shown_at(seconds: list[float], rate: Fraction) -> list[int]:
    """Frame of each step by the definition: the last one that is not later."""
    steps = steps_of(seconds, rate)
    return [
        max(n for n, time in enumerate(seconds) if time <= float(k / rate) + 1e-6)
        for k in range(steps)
    ]


@pytest.mark.parametrize("rate", [Fraction(4), Fraction(25), Fraction(60), Fraction(1, 3)])
@pytest.mark.parametrize("seed", range(5))
def test_each_step_shows_the_last_frame_that_is_not_later(rate: Fraction, seed: int) -> None:
    apart = np.random.default_rng(seed).uniform(0.01, 0.3, 50)
    seconds = [0.0, *np.cumsum(apart).tolist()]
    steps = steps_of(seconds, rate)
    first = seed * 2
    found: dict[int, int] = {}
    for each in on_grid(iter(list(enumerate(seconds))), steps, rate, first):
        if each is not None:
            assert each.seconds == seconds[each.frame]
            found |= dict.fromkeys(range(each.first, each.first + each.count), each.frame)
    expected = shown_at(seconds, rate)
    assert found == {k: frame for k, frame in enumerate(expected) if k >= first}


def test_steps_end_with_the_last_frame() -> None:
    quarter = [n / 4 for n in range(40)]
    assert steps_of(quarter, Fraction(4)) == 40
    assert steps_of(quarter, Fraction(8)) == 80
    assert steps_of(quarter, Fraction(1)) == 10
    assert steps_of([0.0], Fraction(30)) == 1


def read(path: Path, rate: Fraction, **options: int) -> tuple[int, dict[int, np.ndarray]]:
    steps, *rest = grid_frames(path, rate, PLAN, 3, **options)
    assert isinstance(steps, int)
    pictures: dict[int, np.ndarray] = {}
    for some in rest:
        assert isinstance(some, GridPictures)
        assert some.size == (64, 96)
        for (first, count, _), picture in zip(some.steps, some.pictures, strict=True):
            pictures |= dict.fromkeys(range(first, first + count), picture)
    return steps, pictures


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_a_video_is_read_at_a_rate_below_and_above_its_own(
    ending: str,
    write_numbered: Callable[..., Path],
    read_number: Callable[[np.ndarray], int],
    tmp_path: Path,
) -> None:
    codec = "mpeg4" if ending == "avi" else "libx264"
    path = write_numbered(tmp_path / f"a.{ending}", 50, codec=codec, rate=25)
    steps, pictures = read(path, Fraction(5))
    assert steps == 10
    assert [read_number(pictures[k]) for k in range(10)] == list(range(0, 50, 5))
    steps, pictures = read(path, Fraction(50), first=90)
    assert steps == 100
    assert {k: read_number(picture) for k, picture in pictures.items()} == {
        k: k // 2 for k in range(90, 100)
    }


def test_a_variable_frame_rate_is_followed_by_time(
    write_numbered: Callable[..., Path],
    read_number: Callable[[np.ndarray], int],
    tmp_path: Path,
) -> None:
    ticks = [0, 40, 80, 1000, 1040, 3000, 3040]
    path = write_numbered(tmp_path / "a.mkv", 7, ticks=ticks)
    steps, pictures = read(path, Fraction(1))
    assert steps == 4
    assert [read_number(pictures[k]) for k in range(4)] == [0, 3, 4, 5]


def test_frames_of_a_usual_video_are_decoded_once(
    write_numbered: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_numbered(tmp_path / "a.mp4", 60)
    passes = []
    frames = reader.timed_frames

    def counted(*args: object) -> object:
        passes.append(args)
        return frames(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "timed_frames", counted)
    monkeypatch.setattr(
        reader, "read_seconds", lambda _: pytest.fail("decoded for its times alone")
    )
    request = {
        "do": "grid",
        "path": str(path),
        "frames_per_second": None,
        "rate": "5",
        "first": 0,
        "until": None,
        "plan": PLAN.to_spec(),
        "batch": 4,
        "numbers": [0, 15],
    }
    answers = list(reader.read_grid(request))  # type: ignore[arg-type]
    assert answers[0] == ({"steps": 12, "seconds": [0.0, 0.6]}, None)
    assert len(passes) == 1


def test_a_video_that_is_cut_off_is_an_error_at_its_end_at_the_latest(
    write_numbered: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_numbered(tmp_path / "a.mkv", 200)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(VideoError, match=r"cut off|damaged"):
        read(path, Fraction(25))


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "libx264"), ("avi", "mpeg4")])
def test_the_first_seconds_of_a_recording_are_read_as_if_it_ended_there(
    write_numbered: Callable[..., Path], tmp_path: Path, ending: str, codec: str
) -> None:
    path = write_numbered(tmp_path / f"a.{ending}", 200, codec=codec, options={"g": "50"})
    whole_steps, whole = read(path, Fraction(5))
    steps, pictures = read(path, Fraction(5), until=2)
    assert (whole_steps, steps) == (40, 10)
    assert list(pictures) == list(range(10))
    for step, picture in pictures.items():
        np.testing.assert_array_equal(picture, whole[step])
    assert read(path, Fraction(5), until=100)[0] == 40
