"""Statistics against cases with a known answer."""

import numpy as np
import pytest

from stepcli.probe.results.stats import expected_best, holm, paired_difference


def test_the_interval_covers_a_true_difference_and_its_width_is_right() -> None:
    """Independent groups of one sample: the deviation of the mean is known."""
    random = np.random.default_rng(0)
    gain = random.normal(0.1, 1.0, 400)
    found = paired_difference(gain, np.zeros(400), [str(i) for i in range(400)])
    assert found.mean == pytest.approx(gain.mean())
    assert found.low < found.mean < found.high
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * gain.std() / 20, rel=0.05)


def test_coverage_is_near_95_per_cent_where_clips_of_a_group_agree() -> None:
    """Bootstrapping clips instead of groups would be right far too rarely here."""
    random = np.random.default_rng(1)
    hits = 0
    for trial in range(100):
        effects = np.repeat(random.normal(0, 1, 40), 6)
        groups = np.repeat(np.arange(40), 6).astype(str)
        found = paired_difference(effects, np.zeros(240), groups, seed=trial)
        hits += found.low <= 0 <= found.high
    assert 88 <= hits <= 99


def test_few_groups_have_values_and_no_interval() -> None:
    found = paired_difference(np.array([1.0, 0.0, 1.0]), np.zeros(3), ["a", "a", "b"])
    assert (found.low, found.high, found.p) == (None, None, None)
    assert found.by_group == {"a": 0.5, "b": 1.0}
    assert found.mean == pytest.approx(2 / 3)


def test_equal_methods_have_p_of_one_and_a_sure_gain_the_smallest() -> None:
    groups = [str(i) for i in range(20)]
    assert paired_difference(np.ones(20), np.ones(20), groups).p == 1.0
    assert paired_difference(np.ones(20), np.zeros(20), groups).p == pytest.approx(2 / 10_001)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04, 0.03, 0.02, 0.01]) == pytest.approx([0.06, 0.06, 0.06, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_expected_best_of_n_trials() -> None:
    """Of two draws with replacement from {0, 1}, the best is 1 three times in four."""
    assert expected_best([1.0, 0.0]) == pytest.approx([0.5, 0.75])
    curve = expected_best([0.2, 0.9, 0.5])
    assert curve[0] == pytest.approx(np.mean([0.2, 0.9, 0.5]))
    assert curve == sorted(curve)


def test_the_bootstrap_draws_groups_as_often_as_there_are_and_takes_the_middle_95_per_cent() -> (
    None
):
    """Against the textbook in three lines: groups drawn again, a ratio of sums, percentiles."""
    random = np.random.default_rng(7)
    gain = random.normal(0.2, 1, 50)
    groups = [f"g{n:02d}" for n in random.permutation(np.arange(50) % 12)]
    found = paired_difference(gain + 1, np.ones(50), groups)
    parts = [gain[[g == name for g in groups]] for name in sorted(set(groups))]
    drawn = np.random.default_rng(0).integers(0, 12, (10_000, 12))
    sums, counts = np.array([p.sum() for p in parts]), np.array([len(p) for p in parts])
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))
    smaller = min((means <= 0).sum(), (means >= 0).sum())
    assert found.p == pytest.approx(2 * (smaller + 1) / 10_001)
    assert 0.05 < found.p < 1
    again = paired_difference(gain + 1, np.ones(50), groups, seed=1)
    assert (again.mean, again.by_group) == (found.mean, found.by_group)
    assert again.low != found.low


def test_ten_groups_are_enough_for_an_interval_and_nine_are_not() -> None:
    for count, known in ((10, True), (9, False)):
        found = paired_difference(np.arange(count), np.zeros(count), [str(n) for n in range(count)])
        assert (found.low is not None, found.high is not None, found.p is not None) == (known,) * 3
