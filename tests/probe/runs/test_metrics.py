"""Metrics on logits small enough to count by hand."""

import numpy as np
import pytest

from stepcli.probe.runs.metrics import (
    average_precision,
    forced_choice,
    mean_class,
    multi_label_map,
    summary,
    top_k,
)

LOGITS = np.array([[3.0, 1, 0], [1, 3, 0], [3, 1, 0], [0, 2, 3]], np.float32)
LABELS = np.array([0, 0, 1, 2])


def test_top_k_counts_labels_among_the_largest() -> None:
    assert top_k(LOGITS, LABELS, 1) == 0.5
    assert top_k(LOGITS, LABELS, 2) == 1.0
    assert top_k(LOGITS, LABELS, 5) == 1.0


def test_mean_class_weighs_present_classes_alike() -> None:
    assert mean_class(LOGITS, LABELS) == pytest.approx((0.5 + 0 + 1) / 3)
    assert mean_class(LOGITS[:2], LABELS[:2]) == 0.5


def test_forced_choice_looks_at_the_two_logits_alone() -> None:
    choices = forced_choice(LOGITS, LABELS, [(0, 1), (1, 2)])
    assert choices == {(0, 1): (0.5 + 0) / 2, (1, 2): (1 + 1) / 2}


def test_forced_choice_counts_ties_half_and_skips_absent_pairs() -> None:
    logits = np.zeros((2, 3), np.float32)
    labels = np.array([0, 1])
    assert forced_choice(logits, labels, [(0, 1), (0, 2)]) == {(0, 1): 0.5}
    assert summary(logits, labels, [(0, 2)])["forced_choice"] is None


def test_what_does_not_see_order_has_exactly_one_half() -> None:
    """Each sample and its reversal get the same logits and opposite labels."""
    logits = np.repeat(np.random.default_rng(0).normal(size=(10, 2)), 2, axis=0)
    assert summary(logits, np.tile([0, 1], 10), [(0, 1)]) == {
        "top1": 0.5,
        "top5": 1.0,
        "mean_class": 0.5,
        "forced_choice": 0.5,
    }


def test_average_precision_is_that_of_counting_every_threshold() -> None:
    """Written anew from the definition, with ties, on 200 random inputs."""
    random = np.random.default_rng(0)
    for _ in range(200):
        scores = random.integers(0, random.integers(2, 30), random.integers(1, 20)) / 7
        relevant = random.random(len(scores)) < 0.4
        relevant[random.integers(len(scores))] = True
        area, recall = 0.0, 0.0
        for threshold in sorted(set(scores.tolist()), reverse=True):
            found = scores >= threshold
            gained = (found & relevant).sum() / relevant.sum()
            area += (gained - recall) * (found & relevant).sum() / found.sum()
            recall = gained
        assert average_precision(scores, relevant) == pytest.approx(area)


def test_average_precision_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    found = average_precision(scores, np.array([True, False, True, False]))
    assert found == pytest.approx((1 + 2 / 3) / 2)
    constant = average_precision(np.zeros(4), np.array([False, False, False, True]))
    assert constant == 0.25


def test_the_mean_over_labels_leaves_out_those_that_no_sample_has() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5]])
    relevant = np.array([[True, True, False], [False, True, False]])
    assert multi_label_map(scores, relevant) == 1.0
    assert multi_label_map(scores, np.array([[False] * 3, [True] + [False] * 2])) == 0.5
    assert multi_label_map(scores, np.zeros((2, 3), bool)) is None
