"""Average ranks and their bootstrap, against values that are known."""

import numpy as np
import pytest

from stepcli.probe.runs import ranks
from stepcli.probe.runs.ranks import Observed, average_ranks, rank_stability


def observed(right: np.ndarray) -> Observed:
    """Of one sample per group, [seeds, G]."""
    return Observed(right.astype(float), np.ones(right.shape[1]))


def test_ties_share_the_mean_of_their_places() -> None:
    found = average_ranks(np.array([[0.9, 0.5, 0.5, 0.1], [0.2, 0.2, 0.2, 0.2]]))
    assert found.tolist() == [[1, 2.5, 2.5, 4], [2.5, 2.5, 2.5, 2.5]]
    # Demsar's example, data sets adult and iris.
    table = np.array([[0.763, 0.768, 0.771, 0.798], [0.936, 0.931, 0.916, 0.931]])
    assert average_ranks(table).tolist() == [[4, 3, 2, 1], [1, 2.5, 4, 2.5]]
    assert average_ranks(np.array([0.1 + 0.2, 0.3])).tolist() == [1.5, 1.5]


def test_a_method_that_is_always_ahead_is_always_first() -> None:
    random = np.random.default_rng(0)
    best, worst = np.ones((3, 40)), random.random((3, 40)) < 0.5
    first, last = rank_stability([[observed(best), observed(worst)]] * 2, draws=200)
    assert (first.mean, first.low, first.high, first.first) == (1, 1, 1, 1)
    assert (last.mean, last.low, last.high, last.first) == (2, 2, 2, 0)


def test_equal_methods_share_the_first_place() -> None:
    right = np.random.default_rng(0).random((2, 30)) < 0.7
    for each in rank_stability([[observed(right), observed(right.copy())]], draws=100):
        assert (each.mean, each.low, each.high, each.first) == (1.5, 1.5, 1.5, 0.5)


@pytest.mark.parametrize("seeds", [1, 5])
def test_draws_vary_as_new_groups_and_seeds_would(seeds: int) -> None:
    """The deviation of drawn scores is that of a mean of independent units, nearly."""
    random = np.random.default_rng(1)
    values = random.normal(size=(seeds, 1)) * 3 + random.normal(size=(1, 60))
    found = observed(values)
    draws = 20_000
    counts = ranks._drawn_counts(random, 60, draws)
    shares = [ranks._shares(ranks._drawn_counts(random, n, draws)) for n in range(1, seeds + 1)]
    drawn = found.drawn(counts, shares)
    of_groups = values.mean(axis=0).var(ddof=1) / 60
    of_seeds = values.mean(axis=1).var(ddof=1) / seeds if seeds > 1 else 0.0
    assert drawn.mean() == pytest.approx(found.score, abs=0.05)
    assert drawn.var() == pytest.approx(of_groups + of_seeds, rel=0.05)


def test_many_groups_are_drawn_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    methods = [observed(random.random((2, 50)) < share) for share in (0.6, 0.62, 0.5)]
    monkeypatch.setattr(ranks, "LARGEST", 50 * 7)
    found = rank_stability([methods, methods[:]], draws=100)
    assert sum(each.first for each in found) == pytest.approx(1)
    assert all(1 <= each.low <= each.high <= 3 for each in found)
    again = rank_stability([methods, methods[:]], draws=100)
    assert found == again


def test_a_sample_weighs_as_its_split_does() -> None:
    two = Observed(np.array([[0.5, 0.0], [0.5, 1.0]]), np.array([1.0, 1.0]))
    assert two.score == pytest.approx(0.5)
