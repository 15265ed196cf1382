"""Metrics on logits small enough to count by hand."""

import numpy as np
import pytest

from stepcli.probe.runs.metrics import forced_choice, mean_class, summary, top_k

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
