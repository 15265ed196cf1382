"""Windows to steps: which windows count for a step, and which segments are too short to stay."""

import numpy as np
import pytest

from stepcli.probe.analysis.frame_scores import choices, frame_scores, merge_short

STARTS = [0, 2, 4, 5]
"""Of windows of 4 steps in a recording of 9: their middles are 2, 4, 6, 7."""


def one_hot(count: int) -> np.ndarray:
    return np.eye(count)


def test_every_window_that_holds_a_step_counts_with_the_widest_reach() -> None:
    scores = frame_scores(one_hot(4), STARTS, 9, 4, reach=2)
    holds = [[start <= step < start + 4 for start in STARTS] for step in range(9)]
    expected = np.array(holds, float) / np.sum(holds, axis=1, keepdims=True)
    np.testing.assert_allclose(scores, expected)


def test_the_nearest_middle_answers_where_none_counts() -> None:
    scores = frame_scores(one_hot(4), STARTS, 9, 4, reach=0)
    assert scores.argmax(axis=1).tolist() == [0, 0, 0, 0, 1, 1, 2, 3, 3]
    assert set(np.unique(scores)) == {0.0, 1.0}


def test_a_recording_shorter_than_a_window_has_only_its_own_steps() -> None:
    assert frame_scores(one_hot(1), [0], 2, 4, reach=2).shape == (2, 1)


@pytest.mark.parametrize(
    ("labels", "shortest", "merged"),
    [
        ("0010000", 1, "0010000"),
        ("0010000", 2, "0000000"),
        ("0001222", 2, "0000222"),
        ("00122222", 2, "00222222"),
        ("1000", 2, "0000"),
        ("0101010", 2, "1111111"),
        ("12", 5, "22"),
        ("0", 5, "0"),
        ("000110022", 3, "000000000"),
    ],
)
def test_short_segments_go_to_their_longer_neighbour(
    labels: str, shortest: int, merged: str
) -> None:
    found = merge_short(np.array(list(map(int, labels))), shortest)
    assert "".join(map(str, found)) == merged


def test_choices_reach_from_one_window_to_all() -> None:
    tried = choices(16)
    assert len(set(tried)) == len(tried)
    assert {each.reach for each in tried} == {0, 2, 4, 8}
    assert {each.shortest for each in tried} == {1, 4, 8, 16}
    assert choices(1)
