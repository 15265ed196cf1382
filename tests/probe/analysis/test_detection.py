"""Mean average precision against a second implementation and published code's numbers."""

from itertools import pairwise

import numpy as np
import pytest

from stepcli.probe.analysis.detection import (
    TIOUS,
    TimedSegment,
    average_precision,
    mean_average_precision,
    proposals,
)

Lists = tuple[list[TimedSegment], list[TimedSegment]]


def plain_iou(one: TimedSegment, other: TimedSegment) -> float:
    """By the lengths of the pieces that all four ends cut the line into."""
    ends = sorted({one.start, one.end, other.start, other.end})
    both = either = 0.0
    for left, right in pairwise(ends):
        inside = [each.start <= left and right <= each.end for each in (one, other)]
        both += (right - left) * all(inside)
        either += (right - left) * any(inside)
    return both / either


def plain_ap(truth: list[TimedSegment], found: list[TimedSegment], tiou: float) -> float:
    """Match by falling score, then add up the best precision at each newly reached recall."""
    free, hits = list(truth), []
    for one in sorted(found, key=lambda each: each.score, reverse=True):
        fitting = [
            other
            for other in free
            if other.recording == one.recording and plain_iou(one, other) >= tiou
        ]
        best = max(fitting, key=lambda other: plain_iou(one, other), default=None)
        if best is not None:
            free.remove(best)
        hits.append(best is not None)
    precisions = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    return sum(max(precisions[n:]) for n, hit in enumerate(hits) if hit) / len(truth)


def random_lists(seed: int) -> Lists:
    random = np.random.default_rng(seed)
    truth = [
        TimedSegment(name, start, start + random.uniform(0.5, 8), 0)
        for name in "abc"
        for start in random.uniform(0, 50, random.integers(1, 6))
    ]
    found = []
    for score in random.random(random.integers(0, 40)):
        near = truth[random.integers(len(truth))]
        start, end = np.sort(np.array([near.start, near.end]) + random.normal(0, 1.5, 2))
        name = near.recording if random.random() < 0.9 else "z"
        found.append(TimedSegment(name, start, end + 0.1, 0, score))
    return truth, found


@pytest.mark.parametrize("seed", range(200))
def test_ap_equals_an_independent_implementation(seed: int) -> None:
    truth, found = random_lists(seed)
    assert average_precision(truth, found, TIOUS) == pytest.approx(
        [plain_ap(truth, found, tiou) for tiou in TIOUS], abs=1e-6
    )


def test_the_numbers_of_the_published_evaluation() -> None:
    """What ActionFormer's copy of ActivityNet's evaluation gives on this list."""
    truth = [("a", 0.0, 4.0), ("a", 6.0, 9.0), ("b", 1.0, 3.0), ("b", 5.0, 9.5)]
    found = [
        *(("a", 0.5, 4.2, 0.95), ("a", 5.0, 8.6, 0.9), ("a", 0.2, 3.0, 0.6)),
        *(("b", 1.5, 2.5, 0.8), ("b", 4.0, 9.0, 0.7), ("b", 0.0, 9.0, 0.5), ("c", 0.0, 1.0, 0.3)),
    ]
    ap = average_precision(
        [TimedSegment(name, start, end, 0) for name, start, end in truth],
        [TimedSegment(name, start, end, 0, score) for name, start, end, score in found],
        TIOUS,
    )
    assert ap == pytest.approx([1.0, 1.0, 1.0, 1.0, 1.0, 0.6875, 0.375], abs=1e-9)


def test_the_mean_is_over_the_classes_that_have_a_true_segment() -> None:
    truth = [TimedSegment("a", 0, 1, 0), TimedSegment("a", 2, 3, 2)]
    found = [TimedSegment("a", 0, 1, 0, 0.9), TimedSegment("a", 0, 1, 1, 0.9)]
    assert mean_average_precision(truth, found, (0.5,)) == {0.5: 0.5}
    assert mean_average_precision([], found, (0.5,)) == {0.5: 0.0}


def test_proposals_are_runs_above_a_level_without_overlapping_ones() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.9, 0.1], [0.55, 0.45]])
    found = proposals("r", scores, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5], 0)
    # Above 0.1 to 0.7: frames 1 and 2. Above 0.1 to 0.4 also frame 4.
    assert [(one.start, one.end, one.label) for one in found] == [(0.5, 1.5, 1), (2.0, 2.5, 1)]
    assert [one.score for one in found] == pytest.approx([0.8, 0.45])
