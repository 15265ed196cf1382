"""Is one method better than another? Paired, by groups, corrected for the number of questions.

Clips of one source video, and a clip and its reversal, are not independent: what is drawn again is
the group, never the clip. Pure functions of arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 10_000
FEWEST_GROUPS = 10
"""Below this a bootstrap over groups says nothing: the groups' own values are shown instead."""
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Difference:
    """Accuracy of a method minus a reference's, on the same samples; fractions of 1."""

    mean: float
    low: float | None
    """Lower end of the 95 % interval, None with too few groups."""
    high: float | None
    p: float | None
    """Two-sided, before correction."""
    by_group: dict[str, float]
    """Each group's own difference."""


def paired_difference(
    correct: Floats, reference: Floats, groups: Sequence[str], *, seed: int = 0
) -> Difference:
    """Bootstrap the mean difference over groups (Efron & Tibshirani 1993, chapter 16).

    Args:
        correct: Share of seeds that had each sample right, [n].
        reference: The same of the method compared with, same samples, [n].
        groups: Group of each sample, [n].
        seed: Of the resampling.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    gain = np.asarray(correct, np.float64) - reference
    sums = np.bincount(index, gain, len(names))
    counts = np.bincount(index, minlength=len(names)).astype(np.float64)
    mean = float(sums.sum() / counts.sum())
    by_group = {str(n): float(s / c) for n, s, c in zip(names, sums, counts, strict=True)}
    if len(names) < FEWEST_GROUPS:
        return Difference(mean, None, None, None, by_group)
    random = np.random.default_rng(seed)
    means = []
    for start in range(0, RESAMPLES, _CHUNK):
        drawn = random.integers(0, len(names), (min(_CHUNK, RESAMPLES - start), len(names)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    draws = np.concatenate(means)
    low, high = np.percentile(draws, [2.5, 97.5])
    # The smallest p that so many draws can show is 2 / (draws + 1), never 0.
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (len(draws) + 1))
    return Difference(mean, float(low), float(high), p, by_group)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), in the order given."""
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return [float(p) for p in corrected]


def expected_best(scores: Sequence[float]) -> list[float]:
    """Expected best of n random trials, n = 1 ... len (Dodge et al., arXiv 1909.03004, equation 3).

    Args:
        scores: Validation score of each trial.
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    ranks = np.arange(1, len(ordered) + 1) / len(ordered)
    curve = []
    for trials in range(1, len(ordered) + 1):
        below = ranks**trials
        curve.append(float((ordered * np.diff(below, prepend=0.0)).sum()))
    return curve
