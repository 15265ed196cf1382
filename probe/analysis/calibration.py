"""How far a probe's probabilities can be believed: pure functions of logits [n, C] and labels [n].

Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599: one temperature T
for all logits, fitted on clips that the probe was not trained on; the prediction does not change.
Risk-coverage: El-Yaniv & Wiener 2010; Geifman & El-Yaniv, arXiv 1705.08500.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.runs.metrics import Floats, Ints, credit
from stepcli.runtime.errors import UsageError

Values = NDArray[np.float64]

BINS = 15
"""Bins of equal width for the calibration error, as Guo et al. have them."""
_HOTTEST = 1e4
"""Temperatures are searched from 1 / this to this."""
EDGES = (1 / _HOTTEST, _HOTTEST)


def sigmoid(logits: Floats) -> Values:
    """Probability of each class by itself, of the same shape."""
    return 0.5 * (1 + np.tanh(np.asarray(logits, np.float64) / 2))


def softmax(logits: Floats, temperature: float = 1.0) -> Values:
    """Probabilities [n, C] of logits / T."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def negative_log_likelihood(probabilities: Values, labels: Ints) -> float:
    """Mean of -log p(label), nats."""
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())


def brier(probabilities: Values, labels: Ints) -> float:
    """Mean squared distance of the probabilities from the one-hot label, in [0, 2] (Brier 1950)."""
    own = probabilities[np.arange(len(labels)), labels]
    return float((np.square(probabilities).sum(axis=1) - 2 * own + 1).mean())


def expected_calibration_error(probabilities: Values, labels: Ints, bins: int = BINS) -> float:
    """Mean distance of confidence from accuracy, over bins (lower, upper] of confidence."""
    return float(
        sum(
            abs(each.confidence - each.accuracy) * each.samples
            for each in reliability(probabilities, labels, bins)
        )
        / len(labels)
    )


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The samples whose top probability falls into one bin."""

    samples: int
    confidence: float
    """Mean top probability."""
    accuracy: float


def reliability(probabilities: Values, labels: Ints, bins: int = BINS) -> list[ReliabilityBin]:
    """Confidence and accuracy by bins of equal width; empty bins are left out."""
    confidence = probabilities.max(axis=1)
    right = credit(probabilities, labels)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        ReliabilityBin(
            int((place == i).sum()),
            float(confidence[place == i].mean()),
            float(right[place == i].mean()),
        )
        for i in np.unique(place)
    ]


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """The temperature that makes the labels likeliest.

    The likelihood is concave in 1/T, so its slope has one zero, found by halving an interval.

    Raises:
        UsageError: there is none from 0.0001 to 10,000: the logits separate the labels wholly, so
            that no T is small enough, or they are no better than chance, and none large enough.
    """
    temperature = _likeliest(logits, labels)
    if temperature <= 1 / _HOTTEST:
        raise UsageError(
            f"no temperature fits: all {len(labels)} held-out samples are right, so the fit goes "
            f"to its edge, {1 / _HOTTEST:g}; hold out a larger slice"
        )
    if temperature >= _HOTTEST:
        raise UsageError(
            f"no temperature fits: on the {len(labels)} held-out samples the logits are no better "
            f"than chance, so the fit goes to its edge, {_HOTTEST:g}"
        )
    return temperature


def _likeliest(logits: Floats, labels: Ints) -> float:
    """The same; the edge itself where the best lies beyond it."""
    z = np.asarray(logits, np.float64)
    own = z[np.arange(len(labels)), labels]

    def slope(beta: float) -> float:
        return float(((softmax(z, 1 / beta) * z).sum(axis=1) - own).mean())

    low, high = 1 / _HOTTEST, _HOTTEST
    if slope(low) >= 0:
        return 1 / low
    if slope(high) <= 0:
        return 1 / high
    for _ in range(100):
        middle = float(np.sqrt(low * high))
        if slope(middle) > 0:
            high = middle
        else:
            low = middle
    return 1 / float(np.sqrt(low * high))


def cross_validated(
    logits: Floats, labels: Ints, groups: Sequence[str], folds: int = 5
) -> tuple[float, float]:
    """Mean NLL as trained, and at temperatures that were fitted on the other folds' groups.

    Args:
        logits: [n, C]
        labels: [n]
        groups: Of each sample; a group is in one fold.
        folds: Maximum number; at least two groups are needed.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    dealt = np.random.default_rng(0).permutation(len(names)) % min(folds, len(names))
    fold = dealt[index]
    total = 0.0
    for held in np.unique(fold):
        mine = fold == held
        temperature = _likeliest(logits[~mine], labels[~mine])
        chances = softmax(logits[mine], temperature)
        total += negative_log_likelihood(chances, labels[mine]) * int(mine.sum())
    return negative_log_likelihood(softmax(logits), labels), total / len(labels)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How good probabilities are at one temperature."""

    temperature: float
    nll: float
    brier: float
    ece: float


def calibration(logits: Floats, labels: Ints, temperature: float = 1.0) -> Calibration:
    """NLL, Brier and calibration error of softmax(logits / T)."""
    probabilities = softmax(logits, temperature)
    return Calibration(
        temperature,
        negative_log_likelihood(probabilities, labels),
        brier(probabilities, labels),
        expected_calibration_error(probabilities, labels),
    )


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """What is left wrong when the least confident predictions are held back."""

    coverage: Values
    """[n]: 1/n, 2/n ... 1, the share that is answered, the most confident first."""
    risk: Values
    """[n]: the share of those answers that is wrong."""

    @property
    def area(self) -> float:
        """Mean risk over all coverages (AURC): 0 is perfect."""
        return float(self.risk.mean())

    def coverage_at(self, risk: float) -> float:
        """The largest share that can be answered with at most this risk; 0 where none can."""
        fitting = np.flatnonzero(self.risk <= risk)
        return float(self.coverage[fitting[-1]]) if len(fitting) else 0.0


def risk_coverage(probabilities: Values, labels: Ints) -> RiskCoverage:
    """The curve of selective prediction by the top probability.

    Equally confident samples are answered together: each of a tie has the tie's mean share of
    errors, so their order in a file changes nothing.
    """
    confidence = probabilities.max(axis=1)
    wrong = 1 - credit(probabilities, labels)
    _, place, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    shared = np.bincount(place, wrong) / counts
    ordered = shared[np.sort(place)]
    answered = np.arange(1, len(labels) + 1)
    return RiskCoverage(answered / len(labels), np.cumsum(ordered) / answered)


def threshold_for(probabilities: Values, labels: Ints, risk: float) -> float:
    """The lowest top probability from which on at most a share `risk` of the answers is wrong.

    Chosen on held-out clips; infinity where no threshold reaches that risk.
    """
    curve = risk_coverage(probabilities, labels)
    confidence = -np.sort(-probabilities.max(axis=1))
    # A threshold lets through a whole tie: only the last of equals is a place to stop.
    ends = np.append(np.diff(confidence) != 0, True)
    fitting = np.flatnonzero((curve.risk <= risk) & ends)
    return float(confidence[fitting[-1]]) if len(fitting) else float("inf")
