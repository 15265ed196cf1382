"""Times of frames: what increases is kept, and a bad timestamp costs itself alone."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcli.extract.decode.times import Times, frame_times
from stepcli.runtime.errors import VideoError

MS = Fraction(1, 1000)
RATE = Fraction(25)


def times(*ticks: int | None, rate: Fraction | None = RATE, steady: bool = False) -> Times:
    return frame_times(ticks, MS, rate, steady=steady)


def milliseconds(*ticks: int | None, rate: Fraction | None = RATE) -> list[float]:
    return [round(1000 * second, 3) for second in times(*ticks, rate=rate).seconds]


def test_increasing_timestamps_are_kept_whatever_the_rate() -> None:
    found = times(500, 501, 900, 5000)
    assert found.seconds == [0.0, 0.001, 0.4, 4.5]
    assert found.pts == [500, 501, 900, 5000]


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        # Repeated, missing, too early, too late: one of them, two of them.
        ([0, 40, 40, 900, 940], [0, 40, 80, 900, 940]),
        ([0, 40, 40, 120, 160], [0, 40, 80, 120, 160]),
        ([0, 40, 120, 120, 160], [0, 40, 80, 120, 160]),
        ([0, 40, None, None, 160, 200], [0, 40, 80, 120, 160, 200]),
        ([0, 40, None, 300], [0, 40, 80, 300]),
        ([0, 40, -5000, 120, 160], [0, 40, 80, 120, 160]),
        ([0, 40, 7000, 120, 160, 200], [0, 40, 80, 120, 160, 200]),
        ([0, 40, 7000, 7040, 160, 200], [0, 40, 80, 120, 160, 200]),
        ([0, 40, 80, 3, 4, 200, 240], [0, 40, 80, 120, 160, 200, 240]),
        ([0, 40, 80, 80], [0, 40, 80, 120]),
        ([0, 40, 80, 0], [0, 40, 80, 120]),
        ([None, None, 80, 120], [0, 40, 80, 120]),
        ([None, 400, 700, None], [0, 40, 340, 380]),
        ([None, None, None], [0, 40, 80]),
    ],
)
def test_a_bad_timestamp_costs_itself_alone(ticks: list[int | None], expected: list[float]) -> None:
    found = times(*ticks)
    assert milliseconds(*ticks) == expected
    assert found.pts is None


def test_a_clock_that_is_set_back_goes_on_at_its_own_rate() -> None:
    first, second = [40 * n for n in range(30)], [20 * n + 7 for n in range(30)]
    expected = [*first, *(1160 + 40 + 20 * n for n in range(30))]
    assert milliseconds(*first, *second) == expected
    again = [*expected, *(1780 + 40 + 100 * n for n in range(30))]
    assert milliseconds(*first, *second, *(100 * n for n in range(30))) == again


def test_a_joined_stream_that_overlaps_the_one_before_goes_on_after_it() -> None:
    first, second = [40 * n for n in range(30)], [40 * n for n in range(25, 60)]
    assert milliseconds(*first, *second) == [40 * n for n in range(65)]


def test_a_bad_timestamp_in_a_joined_stream_costs_itself_alone() -> None:
    second = [20 * n for n in range(30)]
    second[10] = second[9]
    found = milliseconds(*(40 * n for n in range(30)), *second)
    assert found == [*(40 * n for n in range(30)), *(1200 + 20 * n for n in range(9)), *found[39:]]
    assert found[39] == 1380
    assert 1380 < found[40] < 1420
    assert found[41:] == [1200 + 20 * n for n in range(11, 30)]


def test_times_of_decoding_are_sorted() -> None:
    order = (0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 12, 10, 11)
    assert milliseconds(*(40 * n for n in order)) == [40 * n for n in range(13)]


def test_a_steady_stream_takes_its_rate() -> None:
    assert times(1, 4, 3, 5, steady=True).seconds == [0.0, 0.04, 0.08, 0.12]


def test_without_a_rate_the_usual_gap_is_taken() -> None:
    assert milliseconds(0, 50, 50, 200, 250, rate=None) == [0, 50, 100, 200, 250]
    with pytest.raises(VideoError, match="neither usable times nor a frame rate"):
        times(None, None, rate=None)


@given(st.lists(st.none() | st.integers(-(10**6), 10**6), min_size=1, max_size=60))
def test_times_always_increase(ticks: list[int | None]) -> None:
    found = times(*ticks)
    assert len(found.seconds) == len(ticks)
    assert found.seconds[0] == 0
    assert all(before < after for before, after in pairwise(found.seconds))


@given(
    st.lists(st.integers(1, 400), min_size=8, max_size=60),
    st.integers(1, 10**6),
    st.integers(-(10**6), 10**6),
)
def test_every_other_timestamp_stays(gaps: list[int], place: int, bad: int) -> None:
    true = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    place = 1 + place % (len(true) - 2)
    ticks = [*true[:place], bad, *true[place + 1 :]]
    found = milliseconds(*ticks)
    # Which of two is wrong may be open, as in 1 3 3 4: then one of them is replaced.
    kept = [tick - ticks[0] == shown for tick, shown in zip(ticks, found, strict=True)]
    assert sum(kept) >= len(ticks) - 1
