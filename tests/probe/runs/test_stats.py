"""Statistics against cases with a known answer, and against simulations of methods that tie."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stepcli.probe.runs.stats import (
    accuracy_interval,
    crossed_interval,
    expected_best,
    holm,
    paired_difference,
)
from stepcli.probe.runs.student import quantile, two_sided

SIMULATIONS = 2000


def test_the_interval_covers_a_true_difference_and_its_width_is_right() -> None:
    """Independent groups of one sample, one seed: the deviation of the mean is known."""
    random = np.random.default_rng(0)
    gain = random.normal(0.1, 1.0, 400)
    found = paired_difference(gain, np.zeros(400), [str(i) for i in range(400)])
    assert found.mean == pytest.approx(gain.mean())
    assert found.low < found.mean < found.high
    # Student's 97.5 % quantile at 399 degrees of freedom.
    assert (found.high - found.low) / 2 == pytest.approx(1.96593 * gain.std(ddof=1) / 20, rel=1e-4)
    assert found.seeds == 1


def test_the_interval_is_that_of_the_textbooks_mean_squares() -> None:
    """Balanced groups: a two-way table of seeds x groups without repetition, written out."""
    random = np.random.default_rng(3)
    seeds, groups = 5, 24
    table = (
        random.normal(0, 0.02, (seeds, 1))
        + random.normal(0.01, 0.05, groups)
        + random.normal(0, 0.05, (seeds, groups))
    )
    mean, of_seed, of_group = table.mean(), table.mean(axis=1), table.mean(axis=0)
    mean_square_groups = seeds * ((of_group - mean) ** 2).sum() / (groups - 1)
    mean_square_seeds = groups * ((of_seed - mean) ** 2).sum() / (seeds - 1)
    rest = table - of_seed[:, None] - of_group + mean
    mean_square_rest = (rest**2).sum() / ((seeds - 1) * (groups - 1))
    assert mean_square_seeds > mean_square_rest
    variance = (mean_square_groups + mean_square_seeds - mean_square_rest) / (seeds * groups)
    beyond = (mean_square_seeds - mean_square_rest) / (seeds * groups)
    alone = mean_square_groups / (seeds * groups)
    df = variance**2 / (alone**2 / (groups - 1) + beyond**2 / (seeds - 1))
    found = paired_difference(table, np.zeros_like(table), [f"g{i}" for i in range(groups)])
    assert found.mean == pytest.approx(mean)
    assert found.high - found.mean == pytest.approx(quantile(0.95, df) * variance**0.5)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert found.p == pytest.approx(two_sided(mean / variance**0.5, df))
    assert found.seeds == seeds


@pytest.mark.parametrize(
    ("df", "level", "value"),
    # Tables of Student's distribution; one degree of freedom is Cauchy's, exactly.
    [
        (1, 0.95, 12.7062047),
        (2, 0.95, 4.30265273),
        (4, 0.95, 2.77644511),
        (10, 0.99, 3.16927267),
        (30, 0.95, 2.04227246),
        (120, 0.95, 1.97993041),
        (1e6, 0.95, 1.95996636),
        (4.5, 0.95, 2.65891235),
    ],
)
def test_students_quantiles(df: float, level: float, value: float) -> None:
    assert quantile(level, df) == pytest.approx(value, rel=1e-5)
    assert two_sided(value, df) == pytest.approx(1 - level, rel=1e-4)
    assert two_sided(-value, df) == two_sided(value, df)


def test_students_tail_at_its_ends() -> None:
    assert two_sided(0.0, 7) == 1
    assert two_sided(float("inf"), 7) == 0
    assert two_sided(1.0, 1) == pytest.approx(0.5)


def correctness(
    random: np.random.Generator,
    simulations: int,
    sizes: NDArray[np.int64],
    seeds: int,
    deviation: float,
) -> NDArray[np.bool_]:
    """Of two methods that are equally good: which samples each seed has right.

    A sample is right where a latent value is above zero: how hard its group and clip are for all,
    how well the method suits them, a shift of all clips by the seed, and what the seed does with
    this clip. 85 % are right on average, and seeds agree on most.

    Args:
        random: Of the draws.
        simulations: N.
        sizes: Clips of each group.
        seeds: S.
        deviation: Of accuracy, by which a seed moves all clips; fraction of 1.

    Returns:
        [2, N, S, clips]
    """
    group = np.repeat(np.arange(len(sizes)), sizes)

    def draws(variance: float, *shape: int) -> NDArray[np.float32]:
        return random.standard_normal((simulations, *shape), dtype=np.float32) * variance**0.5

    clips, total = len(group), 0.5 + 0.5 + 0.15 + 0.3 + 0.2
    shared = draws(0.5, len(sizes))[:, group] + draws(0.5, clips)
    # 85 %, and by how much the latent value must move for one point there.
    z = 1.0364334
    density = np.exp(-z * z / 2) / (2 * np.pi) ** 0.5
    found = np.empty((2, simulations, seeds, clips), bool)
    for method in found:
        own = draws(0.15, len(sizes))[:, group] + draws(0.3, clips) + shared + z * total**0.5
        shift = draws((deviation * total**0.5 / density) ** 2, seeds, 1)
        method[:] = own[:, None] + shift + draws(0.2, seeds, clips) > 0
    return found


def group_sums(right: NDArray[np.bool_], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """[..., clips] -> [..., G]"""
    starts = np.cumsum(sizes) - sizes
    return np.add.reduceat(right.astype(np.float64), starts, axis=-1)


@pytest.mark.parametrize("groups", [20, 50, 128])
@pytest.mark.parametrize("points", [0, 1, 2])
def test_equal_methods_differ_in_5_per_cent_of_simulations(groups: int, points: int) -> None:
    """5 % ± 1.5 at 5 seeds: a bootstrap over groups alone calls up to 20 % of them a gain."""
    random = np.random.default_rng((groups, points))
    rejected = done = 0
    while done < SIMULATIONS:
        sizes = random.integers(1, 6, groups)
        first, second = correctness(random, 100, sizes, 5, points / 100)
        each = group_sums(first, sizes) - group_sums(second, sizes)
        for one in each:
            _, low, high, p = crossed_interval([one], sizes.astype(float))
            assert low is not None
            assert high is not None
            assert p is not None
            rejected += p < 0.05
            # Interval and p are one statement.
            assert (p < 0.05) == (not low <= 0 <= high)
        done += len(each)
    assert 0.035 <= rejected / done <= 0.065


def test_other_numbers_of_seeds_are_not_paired_and_hold_too() -> None:
    random = np.random.default_rng(5)
    sizes = random.integers(1, 6, 50)
    rejected = 0
    for _ in range(10):
        first, second = correctness(random, 100, sizes, 6, 0.02)
        for one, other in zip(group_sums(first, sizes), group_sums(second, sizes), strict=True):
            rejected += crossed_interval([one, -other[:4]], sizes.astype(float))[3] < 0.05
    assert 0.03 <= rejected / 1000 <= 0.07


def test_an_accuracys_interval_covers_it() -> None:
    """Of a new draw of seeds and groups, the interval holds 85 % in about 95 of 100 cases."""
    random = np.random.default_rng(11)
    sizes = np.full(40, 4)
    names = [f"g{i}" for i in np.repeat(np.arange(40), 4)]
    hits = 0
    for right in correctness(random, 600, sizes, 5, 0.02)[0]:
        found = accuracy_interval(right, names)
        hits += found.low <= 0.85 <= found.high
    assert 0.92 <= hits / 600 <= 0.98


def test_an_accuracys_interval_stays_between_nothing_and_all() -> None:
    groups = [str(i) for i in range(20)]
    sure = accuracy_interval(np.ones((3, 20)), groups)
    assert (sure.mean, sure.high) == (1.0, 1.0)
    # With 20 of 20 right, Clopper and Pearson's lower end.
    assert sure.low == pytest.approx(0.831567, abs=1e-6)
    never = accuracy_interval(np.zeros((3, 20)), groups)
    assert (never.low, never.high) == (0.0, pytest.approx(1 - 0.831567, abs=1e-6))
    nearly = np.ones((3, 20))
    nearly[:, 0] = 0
    found = accuracy_interval(nearly, groups)
    assert found.mean == pytest.approx(0.95)
    assert found.low < found.mean
    assert found.high == 1.0


def test_few_groups_have_values_and_no_interval() -> None:
    found = paired_difference(np.array([1.0, 0.0, 1.0]), np.zeros(3), ["a", "a", "b"])
    assert (found.low, found.high, found.p) == (None, None, None)
    assert found.by_group == {"a": 0.5, "b": 1.0}
    assert found.mean == pytest.approx(2 / 3)


def test_twenty_groups_are_enough_for_an_interval_and_nineteen_are_not() -> None:
    for count, known in ((20, True), (19, False)):
        found = paired_difference(np.arange(count), np.zeros(count), [str(n) for n in range(count)])
        assert (found.low is not None, found.high is not None, found.p is not None) == (known,) * 3


def test_equal_methods_have_p_of_one_and_a_gain_everywhere_that_of_the_sign_test() -> None:
    groups = [str(i) for i in range(20)]
    same = paired_difference(np.ones(20), np.ones(20), groups)
    assert (same.mean, same.p) == (0, 1.0)
    assert paired_difference(np.ones(20), np.zeros(20), groups).p == pytest.approx(2 / 2**20)


@pytest.mark.parametrize("seeds", [1, 5])
def test_an_interval_of_groups_that_do_not_differ_is_no_point(seeds: int) -> None:
    """None of 20 groups differs: with 97.5 % confidence at most 16.8 % of all groups do, in either
    direction (Clopper and Pearson's upper end for 0 of 20)."""
    groups = [str(i) for i in range(20)]
    right = np.random.default_rng(0).integers(0, 2, (seeds, 20)).astype(float)
    same = paired_difference(right, right, groups)
    assert (same.mean, same.p) == (0, 1.0)
    assert (same.low, same.high) == pytest.approx((-0.168433, 0.168433), abs=1e-6)
    better = paired_difference(np.ones((seeds, 20)), np.zeros((seeds, 20)), groups)
    # The groups that differ may lose what the others gain.
    assert (better.low, better.high) == pytest.approx((1 - 2 * 0.168433, 1), abs=1e-6)


@pytest.mark.parametrize("gain", [0.02, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("groups", [20, 128])
def test_one_gain_in_every_group_has_an_interval_that_agrees_with_its_p(
    gain: float, groups: int
) -> None:
    found = paired_difference(
        np.full(groups, gain), np.zeros(groups), list(map(str, range(groups)))
    )
    assert -1 <= found.low < found.mean == pytest.approx(gain)
    assert found.mean <= found.high <= 1
    assert (found.p < 0.05) == (found.low > 0)


def test_an_accuracy_of_one_value_in_every_group_has_an_interval() -> None:
    """A probe that ignores order, on clips shown forward and backward."""
    names = [str(i // 2) for i in range(40)]
    found = accuracy_interval(np.tile([1.0, 0.0], (3, 20)), names)
    assert (found.low, found.mean, found.high) == pytest.approx(
        (0.5 * 0.831567, 0.5, 1 - 0.5 * 0.831567), abs=1e-6
    )


def test_seeds_of_one_number_are_paired() -> None:
    """What moves both methods alike in a seed, as a shared draw of clips does, cancels."""
    random = np.random.default_rng(2)
    shift = random.normal(0, 0.2, (5, 1))
    base = random.normal(0, 0.01, (2, 5, 30)) + shift
    groups = [str(i) for i in range(30)]
    paired = paired_difference(base[0], base[1], groups)
    apart = paired_difference(base[0], base[1, :4], groups)
    assert paired.high - paired.low < (apart.high - apart.low) / 10


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
