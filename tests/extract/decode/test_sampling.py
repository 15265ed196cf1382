import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcli.extract.decode.sampling import dense, midpoint, parse_sampling, uniform
from stepcli.runtime.errors import UnknownName, UsageError

COUNTS = st.integers(1, 5000)
FRAMES = st.integers(1, 128)
ALL_RULES = ["uniform", "midpoint", "random", "random-seed7", "dense1", "dense4", "dense2-3of3"]


@given(available=COUNTS, wanted=FRAMES)
def test_uniform_is_symmetric_under_reversal(available: int, wanted: int) -> None:
    indices = uniform(available, wanted)
    mirrored = [available - 1 - index for index in indices]
    if wanted % 2 and available % 2 == 0:
        # No choice of T indices can be symmetric here: all but the middle one are.
        del indices[wanted // 2], mirrored[wanted // 2]
    assert sorted(mirrored) == sorted(indices)


@given(available=COUNTS, wanted=FRAMES)
def test_uniform_stays_within_half_a_frame_of_the_middles(available: int, wanted: int) -> None:
    for i, index in enumerate(uniform(available, wanted)):
        middle = (2 * i + 1) * available / (2 * wanted) - 0.5
        assert abs(index - middle) <= 0.5 + 1e-9


def test_uniform_by_hand() -> None:
    assert uniform(16, 16) == list(range(16))
    assert uniform(17, 16) == [*range(8), *range(9, 17)]
    assert uniform(10, 4) == [1, 3, 6, 8]
    assert uniform(1, 3) == [0, 0, 0]
    assert uniform(2, 4) == [0, 0, 1, 1]


@given(available=COUNTS, wanted=FRAMES)
def test_midpoint_is_the_rule_of_x_clip(available: int, wanted: int) -> None:
    # int(i*N/T + N/(2T)) in exact arithmetic.
    expected = [(2 * i * available + available) // (2 * wanted) for i in range(wanted)]
    assert midpoint(available, wanted) == expected


def test_midpoint_is_not_symmetric() -> None:
    assert midpoint(8, 4) == [1, 3, 5, 7]
    assert uniform(8, 4) == [1, 3, 4, 6]


@given(available=COUNTS, wanted=FRAMES, rule=st.sampled_from(ALL_RULES))
def test_every_rule_yields_ordered_indices_of_the_clip(
    available: int, wanted: int, rule: str
) -> None:
    indices = parse_sampling(rule).indices(available, wanted, "clip")
    assert len(indices) == wanted
    assert indices == sorted(indices)
    assert 0 <= indices[0] <= indices[-1] < available


@given(available=st.integers(64, 5000))
def test_random_picks_one_frame_a_stretch(available: int) -> None:
    rule = parse_sampling("random")
    indices = rule.indices(available, 16, "a")
    assert indices == rule.indices(available, 16, "a")
    for i, index in enumerate(indices):
        assert i * available // 16 <= index < (i + 1) * available // 16


def test_random_differs_between_clips_and_seeds() -> None:
    rule = parse_sampling("random")
    assert rule.indices(900, 16, "a") != rule.indices(900, 16, "b")
    assert rule.indices(900, 16, "a") != parse_sampling("random-seed1").indices(900, 16, "a")
    assert rule.name == "random-seed0"


def test_dense_views_cover_the_clip_from_end_to_end() -> None:
    assert dense(100, 4, 2, 0, 1) == [46, 48, 50, 52]
    assert dense(100, 4, 2, 0, 3)[0] == 0
    assert dense(100, 4, 2, 1, 3)[0] in (46, 47)
    assert dense(100, 4, 2, 2, 3)[-1] == 99
    assert dense(3, 4, 2, 0, 1) == [0, 2, 2, 2]


def test_a_rule_nobody_knows_lists_the_rules() -> None:
    with pytest.raises(UnknownName, match="did you mean uniform"):
        parse_sampling("unifrom")
    with pytest.raises(UsageError, match="no view 4 of 3"):
        parse_sampling("dense2-4of3")


@pytest.mark.parametrize(("available", "wanted"), [(0, 4), (4, 0)])
def test_nothing_to_pick_from_is_an_error(available: int, wanted: int) -> None:
    with pytest.raises(ValueError, match="cannot pick"):
        parse_sampling("uniform").indices(available, wanted, "clip")
