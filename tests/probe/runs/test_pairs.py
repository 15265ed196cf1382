"""How a pair of classes is told apart: golden values from scikit-learn, and by hand."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from stepcli.probe.runs.metrics import forced_choice
from stepcli.probe.runs.pairs import (
    area_under_curve,
    pair_scores,
    read_pairs,
    summarize_pairs,
    symmetric_and_other,
)
from stepcli.runtime.errors import UsageError

LABELS = np.array([0, 0, 0, 1, 2])
LOGITS = np.array(
    [
        [2.0, 1.0, 0.0],  # right
        [1.0, 2.0, 0.0],  # confused with the partner
        [1.5, 1.0, 9.0],  # confused with a third class, the choice between the two is right
        [0.0, 1.0, 0.0],  # right
        [0.0, 0.0, 1.0],  # of another class
    ],
    np.float32,
)


def test_a_pair_by_hand() -> None:
    score = pair_scores(LOGITS, LABELS, [(0, 1)])[(0, 1)]
    assert score.samples == 4
    assert score.forced_choice == pytest.approx((2 / 3 + 1) / 2)
    assert score.right == 3
    assert score.recall == (pytest.approx(1 / 3), 1.0)
    assert score.either == 3  # one sample escaped into the third class
    assert score.accuracy_either == pytest.approx(2 / 3)
    # Margins 1, -1, 0.5 of the first class against -1 of the second: two above, one tie.
    assert score.auc == pytest.approx(2.5 / 3)


@pytest.mark.parametrize("ties", [False, True])
def test_forced_choice_and_auc_are_the_fields_own(ties: bool) -> None:
    random = np.random.default_rng(3)
    logits = random.normal(size=(200, 6)).astype(np.float32)
    if ties:
        logits = logits.round()
    labels = random.integers(0, 6, 200)
    pairs = [(0, 1), (2, 3), (0, 4)]
    scores = pair_scores(logits, labels, pairs)
    assert {p: s.forced_choice for p, s in scores.items()} == pytest.approx(
        forced_choice(logits, labels, pairs)
    )
    for (a, b), score in scores.items():
        mine = (labels == a) | (labels == b)
        margin = logits[mine, a].astype(np.float64) - logits[mine, b]
        assert score.auc == pytest.approx(roc_auc_score(labels[mine] == a, margin), abs=1e-12)


def test_micro_counts_samples_and_macro_counts_pairs() -> None:
    logits = np.zeros((12, 4))
    labels = np.array([0] * 5 + [1] * 5 + [2, 3])
    logits[:5, 0] = logits[5:10, 1] = 1  # the large pair is right,
    logits[10, 3] = logits[11, 2] = 1  # the small one wrong
    found = summarize_pairs(list(pair_scores(logits, labels, [(0, 1), (2, 3)]).values()))
    assert found is not None
    assert found.macro_forced_choice == 0.5
    assert found.micro_forced_choice == pytest.approx(10 / 12)
    assert summarize_pairs([]) is None


def test_a_pair_without_samples_of_both_is_left_out() -> None:
    assert list(pair_scores(LOGITS, LABELS, [(0, 1), (1, 2), (2, 0)])) == [(0, 1), (1, 2), (2, 0)]
    assert pair_scores(LOGITS[:3], LABELS[:3], [(0, 1)]) == {}


def test_symmetric_and_other_classes() -> None:
    symmetric, other = symmetric_and_other(LOGITS, LABELS, [(0, 1)])
    assert symmetric is not None
    assert other is not None
    assert (symmetric.classes, symmetric.samples, symmetric.top1) == (2, 4, 0.5)
    assert symmetric.mean_class == pytest.approx((1 / 3 + 1) / 2)
    assert (other.classes, other.samples, other.top1) == (1, 1, 1.0)
    assert symmetric_and_other(LOGITS, LABELS, [])[0] is None


def test_the_area_of_separated_and_of_equal_scores() -> None:
    assert area_under_curve(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert area_under_curve(np.array([1.0]), np.array([1.0])) == 0.5


def test_a_class_may_have_several_partners_where_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("label,partner\nb,a\na,b\na,c\n")
    assert read_pairs(file, several=True) == (("a", "b"), ("a", "c"))
    with pytest.raises(UsageError, match="'a' is paired with 'c' and with 'b'"):
        read_pairs(file)
    file.write_text("label,partner\na,a\n")
    with pytest.raises(UsageError, match="another than itself"):
        read_pairs(file, several=True)
