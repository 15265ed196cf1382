"""Probabilities against scikit-learn's losses, and curves by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from stepcli.probe.analysis.calibration import (
    brier,
    calibration,
    cross_validated,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    risk_coverage,
    softmax,
    threshold_for,
)
from stepcli.runtime.errors import UsageError

RANDOM = np.random.default_rng(5)
LABELS = RANDOM.integers(0, 5, 400)
LOGITS = RANDOM.normal(size=(400, 5)) + 2 * np.eye(5)[LABELS]


def test_losses_are_scikit_learns() -> None:
    p = softmax(LOGITS)
    assert p.sum(axis=1) == pytest.approx(1)
    assert negative_log_likelihood(p, LABELS) == pytest.approx(log_loss(LABELS, p), abs=1e-12)
    expected = brier_score_loss(LABELS, p, labels=range(5), scale_by_half=False)
    assert brier(p, LABELS) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_by_hand() -> None:
    # Two samples at 0.9, one right; two at 0.6, both right; bins of a tenth.
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    labels = np.array([0, 1, 0, 0])
    assert expected_calibration_error(p, labels, bins=10) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 20))
def test_the_temperature_that_was_put_in_comes_out(factor: float) -> None:
    best = fit_temperature(LOGITS, LABELS)
    assert fit_temperature(LOGITS * factor, LABELS) == pytest.approx(best * factor, rel=1e-6)


def test_no_other_temperature_is_better_and_predictions_stay() -> None:
    overconfident = LOGITS * 7
    best = fit_temperature(overconfident, LABELS)
    at_best = calibration(overconfident, LABELS, best)
    for factor in (0.5, 0.9, 1.1, 2):
        assert at_best.nll < calibration(overconfident, LABELS, best * factor).nll
    assert at_best.ece < calibration(overconfident, LABELS).ece
    assert (softmax(overconfident, best).argmax(1) == overconfident.argmax(1)).all()


def test_a_temperature_at_the_edge_of_its_search_is_an_error() -> None:
    right = np.eye(5)[LABELS]
    with pytest.raises(UsageError, match=r"all 400 held-out samples are right.* edge, 0\.0001"):
        fit_temperature(right, LABELS)
    for chance in (-right, np.zeros((400, 5))):
        with pytest.raises(UsageError, match=r"no better than chance, .* edge, 10000"):
            fit_temperature(chance, LABELS)
    # Far from 1, and still found.
    for scale in (1e-3, 1e3):
        assert fit_temperature(LOGITS * scale, LABELS) == pytest.approx(
            fit_temperature(LOGITS, LABELS) * scale, rel=1e-6
        )
    assert softmax(np.array([[1e30, 0.0]])).tolist() == [[1, 0]]


def test_held_out_nll_is_that_of_temperatures_from_other_groups() -> None:
    groups = [f"g{n % 20}" for n in range(400)]
    before, after = cross_validated(7 * LOGITS, LABELS, groups)
    assert before == pytest.approx(calibration(7 * LOGITS, LABELS).nll)
    best = calibration(7 * LOGITS, LABELS, fit_temperature(7 * LOGITS, LABELS)).nll
    assert best < after < best + 0.01 < before
    # Of one confident mistake in a group, the others know nothing.
    logits = np.tile([[2.0, 0.0]], (20, 1))
    labels = np.zeros(20, int)
    labels[3] = 1
    before, after = cross_validated(logits, labels, [str(n) for n in range(20)])
    assert after > before


def test_risk_coverage_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.55, 0.45]])
    labels = np.array([0, 1, 1, 0])  # the third is wrong
    curve = risk_coverage(p, labels)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert curve.risk == pytest.approx([0, 0, 1 / 3, 1 / 4])
    assert curve.area == pytest.approx((1 / 3 + 1 / 4) / 4)
    assert curve.coverage_at(0.1) == 0.5
    assert curve.coverage_at(0.25) == 1
    assert threshold_for(p, labels, 0.1) == 0.8
    assert threshold_for(p, labels, 0.25) == 0.55


def test_a_tie_is_answered_as_one() -> None:
    p = np.array([[0.7, 0.3]] * 4)
    labels = np.array([0, 1, 0, 1])
    for order in ([0, 1, 2, 3], [1, 3, 0, 2]):
        assert risk_coverage(p, labels[order]).risk.tolist() == [0.5] * 4
    assert threshold_for(p, labels, 0.4) == float("inf")
