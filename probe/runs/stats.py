"""Is one method better than another? Paired, over seeds and groups, corrected for many questions.

Clips of one source video, and a clip and its reversal, are not independent: what counts as one
observation is the group, never the clip. Nor do five seeds of one method make five methods: a new
seed moves all clips together. An interval here covers both, new groups and new seeds. Pure
functions of arrays.

Source: the two-way crossed random model, seeds x groups, of Searle, Casella & McCulloch, Variance
Components (1992), with degrees of freedom by Satterthwaite, An approximate distribution of
estimates of variance components (Biometrics 2, 1946). Why no bootstrap of groups and seeds (Owen &
Eckles, Annals of Applied Statistics 6, 2012): docs/maintainers/decisions/106.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.runs.student import quantile, two_sided

Floats = NDArray[np.float64]

FEWEST_GROUPS = 20
"""With fewer there is no interval: the groups' own values are shown instead."""
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Accuracy of a method minus a reference's, on the same samples; fractions of 1."""

    mean: float
    low: float | None
    """Lower end of the 95 % interval over seeds and groups, None with too few groups."""
    high: float | None
    p: float | None
    """Two-sided, before correction."""
    by_group: dict[str, float]
    """Each group's own difference."""
    seeds: int
    """Of the side that has fewer. One seed: the interval covers new groups, not new seeds."""


def paired_difference(
    correct: Floats, reference: Floats, groups: Sequence[str]
) -> PairedDifference:
    """Mean difference of two methods, with an interval over seeds and groups.

    The same number of seeds on both sides is paired seed by seed, since equal seeds may share a
    draw of the training clips; otherwise each side's seeds count by themselves.

    Args:
        correct: 1 where a seed had a sample right, 0 where it was wrong, [seeds, n].
        reference: The same of the method compared with, same samples, [its seeds, n].
        groups: Group of each sample, [n].
    """
    right, other = (np.atleast_2d(np.asarray(each, np.float64)) for each in (correct, reference))
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.bincount(index, minlength=len(names)).astype(np.float64)
    sides = [right - other] if len(right) == len(other) else [right, -other]
    sums = [_by_group(side, index, len(names)) for side in sides]
    each = sum(side.mean(axis=0) for side in sums) / counts
    by_group = {str(name): float(value) for name, value in zip(names, each, strict=True)}
    mean, low, high, p = crossed_interval(sums, counts)
    return PairedDifference(mean, low, high, p, by_group, min(len(right), len(other)))


def accuracy_interval(correct: Floats, groups: Sequence[str]) -> PairedDifference:
    """Accuracy of one method, with its interval over seeds and groups; p has no meaning here.

    Where nothing varies, as where every seed has every sample right, the interval is that of
    Clopper & Pearson (1934) for as many samples as there are groups, see `_of_one_value`.

    Args:
        correct: 1 where a seed had a sample right, 0 where it was wrong, [seeds, n].
        groups: Group of each sample, [n].
    """
    right = np.atleast_2d(np.asarray(correct, np.float64))
    found = paired_difference(right, np.zeros_like(right), groups)
    low, high = found.low, found.high
    if low is not None and high is not None:
        low, high = max(0.0, low), min(1.0, high)
        if np.ptp(list(found.by_group.values())) < 1e-12 > np.ptp(right.mean(axis=1)):
            same = ((1 - LEVEL) / 2) ** (1 / len(found.by_group))
            low, high = found.mean * same, 1 - (1 - found.mean) * same
    return PairedDifference(found.mean, low, high, None, found.by_group, found.seeds)


def mean_by_group(correct: Floats, groups: Sequence[str]) -> tuple[Floats, tuple[str, ...]]:
    """Each group's mean, and the groups in order: where one group is left out at a time, the result
    is the mean over groups, whatever their sizes.

    Args:
        correct: [seeds, n].
        groups: Of each sample, [n].

    Returns:
        [seeds, G], and G names.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = _by_group(np.atleast_2d(np.asarray(correct, np.float64)), index, len(names))
    return sums / np.bincount(index, minlength=len(names)), tuple(map(str, names))


def _by_group(side: Floats, index: NDArray[np.intp], groups: int) -> Floats:
    """Sums over the samples of each group, [seeds, G]."""
    return np.stack([np.bincount(index, row, groups) for row in side])


def crossed_interval(
    sides: Sequence[Floats], counts: Floats
) -> tuple[float, float | None, float | None, float | None]:
    """Mean, ends of its interval, and p against 0; only the mean where groups are too few.

    With one side D of S seeds and G groups, the mean squares over groups MG, over seeds MS and of
    the rest ME give Var(mean) = (MG + max(0, MS - ME)) / (S G).

    Args:
        sides: Of each side whose seeds are independent of the others' the groups' sums,
            [its seeds, G]; the estimate is the sum of the sides' means.
        counts: Samples of each group, [G].
    """
    groups, total = len(counts), float(counts.sum())
    mean = sum(float(side.mean(axis=0).sum()) for side in sides) / total
    if groups < FEWEST_GROUPS:
        return mean, None, None, None
    # What each seed and group adds to the error of a mean that is a ratio of sums.
    errors = [
        (side - counts * (float(side.mean(axis=0).sum()) / total)) * (groups / total)
        for side in sides
    ]
    over_groups = sum(error.mean(axis=0) for error in errors)
    parts = [(float(np.square(over_groups).sum()) / (groups - 1) / groups, groups - 1)]
    parts += [(_of_seeds(error), len(error) - 1) for error in errors if len(error) > 1]
    variance = sum(part for part, _ in parts)
    # Nothing varies but rounding: one value for all groups and seeds.
    if variance < 1e-24:
        return mean, *_of_one_value(mean, groups)
    df = variance**2 / sum(part**2 / own for part, own in parts)
    reach = quantile(LEVEL, df) * variance**0.5
    return mean, mean - reach, mean + reach, two_sided(mean / variance**0.5, df)


def _of_one_value(value: float, groups: int) -> tuple[float, float, float]:
    """Ends of the interval and p of a difference that is the same in every group.

    That groups do not vary in a draw of G does not say that they never do. With 97.5 % confidence
    at most u = 1 - 0.025^(1/G) of all groups have another value (Clopper & Pearson, 1934, no
    success in G), and a difference lies between -1 and 1 whatever they have. p is 2 (1 + |d|)^-G,
    the level whose interval ends at 0: of a gain of 1 in every group the sign test's.
    """
    others = 1 - ((1 - LEVEL) / 2) ** (1 / groups)
    low, high = value - others * (1 + value), value + others * (1 - value)
    return max(-1.0, low), min(1.0, high), min(1.0, 2 * (1 + abs(value)) ** -groups)


def _of_seeds(error: Floats) -> float:
    """What seeds add to the variance of a side's mean, beyond what groups add, [S, G] -> >= 0."""
    seeds, groups = error.shape
    by_seed, by_group = error.mean(axis=1), error.mean(axis=0)
    rest = error - by_seed[:, None] - by_group
    of_seeds = groups * float(np.square(by_seed).sum()) / (seeds - 1)
    of_rest = float(np.square(rest).sum()) / ((seeds - 1) * (groups - 1))
    return float(max(0.0, of_seeds - of_rest) / (seeds * groups))


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
