"""Ranks of methods over several data sets, and how stable they are. Pure functions of arrays.

Sources: average ranks, Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets (JMLR
7, 2006); the bootstrap that draws one unit fewer than there are, McCarthy & Snowden, The Bootstrap
and Finite Population Sampling (1985), because n units drawn again have only (n - 1) / n of their
variance, which is far too little of five seeds. Why groups and seeds are drawn, and not data sets:
docs/maintainers/decisions/204.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.95
DIGITS = 9
"""Decimals of scores that are compared; sums of equal terms differ in the last bits."""
LARGEST = 1 << 22
"""Counts that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the seeds of one method had right on the test samples of one data set."""

    right: Floats
    """Sums of weight x correct over the samples of each group, [seeds, G]."""
    weights: Floats
    """Sums of the samples' weights, [G]."""

    @property
    def score(self) -> float:
        """Weighted accuracy, mean over seeds."""
        return float(self.right.sum(axis=1).mean() / self.weights.sum())

    def drawn(self, groups: Floats, seeds: Sequence[Floats]) -> Floats:
        """The score of each draw, [B].

        Args:
            groups: How often each group is drawn, [B, G].
            seeds: Of each number of seeds the share of each in the draws, [B, seeds].
        """
        shares = seeds[len(self.right) - 1]
        of_seeds = groups @ self.right.T / (groups @ self.weights)[:, None]
        found: Floats = (of_seeds * shares).sum(axis=1)
        return found


@dataclass(frozen=True, slots=True)
class RankStability:
    """The mean rank of one method over data sets, the best being 1."""

    mean: float
    low: float
    """Of the 95 % interval over draws of groups and seeds."""
    high: float
    first: float
    """Share of the draws whose lowest mean rank it has; methods that tie share it."""


def average_ranks(scores: Floats) -> Floats:
    """Ranks along the last axis: 1 for the largest, tied ones get the mean of their places.

    Args:
        scores: [..., M]
    """
    rounded = np.round(scores, DIGITS)
    mine, other = rounded[..., :, None], rounded[..., None, :]
    found: Floats = 0.5 + (other > mine).sum(axis=-1) + 0.5 * (other == mine).sum(axis=-1)
    return found


def rank_stability(
    columns: Sequence[Sequence[Observed]], *, draws: int = DRAWS, seed: int = 0
) -> list[RankStability]:
    """Mean ranks over data sets, with a bootstrap of groups and of seeds within each data set.

    All methods of a data set get the same draw of groups; those with equally many seeds get the
    same draw of seeds, since equal seeds may share a draw of the training clips.

    Args:
        columns: Of each data set the M methods, in one order, on the same groups.
        draws: How many.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    observed = np.mean([average_ranks(np.array([m.score for m in each])) for each in columns], 0)
    total = np.zeros((draws, len(observed)))
    for methods in columns:
        most = max(len(method.right) for method in methods)
        width = len(methods[0].weights)
        size = max(1, LARGEST // width)
        for start in range(0, draws, size):
            some = min(size, draws - start)
            groups = _drawn_counts(random, width, some)
            seeds = [_shares(_drawn_counts(random, n, some)) for n in range(1, most + 1)]
            scores = np.stack([method.drawn(groups, seeds) for method in methods], axis=1)
            total[start : start + some] += average_ranks(scores)
    ranks = total / len(columns)
    best = np.round(ranks, DIGITS) == np.round(ranks, DIGITS).min(axis=1, keepdims=True)
    first = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    ends = np.quantile(ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [
        RankStability(float(mean), float(low), float(high), float(share))
        for mean, low, high, share in zip(observed, *ends, first, strict=True)
    ]


def _drawn_counts(random: np.random.Generator, units: int, draws: int) -> Floats:
    """How often each unit is among units - 1 that are drawn with replacement, [draws, units]; of
    one unit, that one."""
    return random.multinomial(max(1, units - 1), np.full(units, 1 / units), draws).astype(float)


def _shares(counts: Floats) -> Floats:
    shares: Floats = counts / counts.sum(axis=1, keepdims=True)
    return shares
