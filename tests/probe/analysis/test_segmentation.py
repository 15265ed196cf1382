"""Edit score and F1 against a second implementation and published code's numbers."""

from functools import cache

import numpy as np
import pytest

from stepcli.probe.analysis.segmentation import (
    OVERLAPS,
    Counts,
    edit_score,
    runs_of,
    segment_counts,
    total,
)


def segments(labels: np.ndarray, background: int) -> list[tuple[int, set[int]]]:
    """The runs as sets of frames: nothing of ends that may be off by one."""
    found: list[tuple[int, set[int]]] = []
    for frame, label in enumerate(labels.tolist()):
        if label == background:
            continue
        if found and found[-1][0] == label and frame - 1 in found[-1][1]:
            found[-1][1].add(frame)
        else:
            found.append((label, {frame}))
    return found


def plain_edit(predicted: np.ndarray, truth: np.ndarray, background: int) -> float:
    """Levenshtein by its recursive definition."""
    one = [label for label, _ in segments(predicted, background)]
    other = [label for label, _ in segments(truth, background)]

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        if one[i - 1] == other[j - 1]:
            return distance(i - 1, j - 1)
        return 1 + min(distance(i - 1, j), distance(i, j - 1), distance(i - 1, j - 1))

    longest = max(len(one), len(other))
    return 1 - distance(len(one), len(other)) / longest if longest else 1.0


def plain_f1(predicted: np.ndarray, truth: np.ndarray, overlap: float, background: int) -> float:
    """By sets of frames. MS-TCN's union spans a gap, but disjoint segments never match."""
    left = segments(truth, background)
    mine = segments(predicted, background)
    matched: set[int] = set()
    for label, frames in mine:
        ious = [
            len(frames & own) / len(frames | own) if other == label else 0.0 for other, own in left
        ]
        best = int(np.argmax(ious)) if ious else -1
        if best >= 0 and ious[best] >= overlap and best not in matched:
            matched.add(best)
    precision = len(matched) / len(mine) if mine else 0.0
    recall = len(matched) / len(left) if left else 0.0
    if not mine and not left:
        return 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def random_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Label sequences with segments of all lengths, the one a disturbed copy of the other."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 12, random.integers(1, 20))
    truth = np.repeat(random.integers(0, 5, len(lengths)), lengths)
    predicted = np.roll(truth, random.integers(-4, 5))
    noisy = random.random(len(truth)) < random.choice([0.0, 0.1, 0.5])
    return np.where(noisy, random.integers(0, 5, len(truth)), predicted), truth


@pytest.mark.parametrize("seed", range(200))
def test_scores_equal_an_independent_implementation(seed: int) -> None:
    predicted, truth = random_pair(seed)
    assert edit_score(predicted, truth, 0) == pytest.approx(
        plain_edit(predicted, truth, 0), abs=1e-6
    )
    for overlap in OVERLAPS:
        assert total(segment_counts(predicted, truth, overlap, 0)).f1 == pytest.approx(
            plain_f1(predicted, truth, overlap, 0), abs=1e-6
        )


PREDICTED = "00111100220202033300022"
TRUTH = "01111000222222000333301"
GOLDEN_EDIT = 50.0
GOLDEN_COUNTS = {0.1: (3, 3, 1), 0.25: (2, 4, 2), 0.5: (1, 5, 3)}


def test_the_numbers_of_the_published_evaluation() -> None:
    """MS-TCN's eval.py on these two, "0" being background: edit, then (TP, FP, FN)."""
    predicted, truth = (np.array(list(map(int, text))) for text in (PREDICTED, TRUTH))
    assert 100 * edit_score(predicted, truth, 0) == pytest.approx(GOLDEN_EDIT, abs=1e-6)
    for overlap, (right, wrong, missed) in GOLDEN_COUNTS.items():
        counts = total(segment_counts(predicted, truth, overlap, 0))
        assert (counts.right, counts.wrong, counts.missed) == (right, wrong, missed)


def test_counts_by_class_add_up() -> None:
    predicted, truth = random_pair(3)
    by_class = segment_counts(predicted, truth, 0.1, 0)
    assert 0 not in by_class
    assert total(by_class) == sum(by_class.values(), Counts())


def test_sequences_without_a_segment() -> None:
    none, some = np.zeros(5, np.int64), np.array([0, 1, 1, 0, 0])
    assert edit_score(none, none, 0) == 1
    assert edit_score(none, some, 0) == edit_score(some, none, 0) == 0
    assert total(segment_counts(none, none, 0.5, 0)).f1 == 1
    assert total(segment_counts(some, none, 0.5, 0)) == Counts(wrong=1)
    assert total(segment_counts(none, some, 0.5, 0)) == Counts(missed=1)
    assert [(run.label, run.start, run.end) for run in runs_of(some)] == [
        (0, 0, 1),
        (1, 1, 3),
        (0, 3, 5),
    ]
