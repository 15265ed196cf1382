"""One rule for ties everywhere: classes with equal logits share the place."""

import io
from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from stepcli.apply.prediction.timeline import answer
from stepcli.probe.analysis.calibration import (
    expected_calibration_error,
    reliability,
    risk_coverage,
    softmax,
)
from stepcli.probe.analysis.order_tests import _accuracy, _score
from stepcli.probe.analysis.summary import confusion
from stepcli.probe.runs.configurations import Configuration
from stepcli.probe.runs.metrics import answers, base_to_novel, credit, mean_class, summary, top_k
from stepcli.probe.runs.pairs import pair_scores, symmetric_and_other
from stepcli.probe.runs.predictions import (
    FILE,
    Predictions,
    encode_predictions,
    read_predictions,
)
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.runs.stats import paired_difference

CLASSES = 4
LABELS = np.array([0] * 90 + [1] * 6 + [2] * 3 + [3])
"""Uneven, so that naming the first class of a tie would be right 90 times in 100."""
CONSTANT = np.full((100, CLASSES), 0.25, np.float32)
PARTNER = np.array([1, 0, 3, 2])


def predictions(logits: np.ndarray) -> Predictions:
    rows = len(logits)
    return Predictions(
        tuple(f"c{n}" for n in range(rows)),
        tuple(f"g{n}" for n in range(rows)),
        np.zeros(rows, np.int64),
        np.zeros(rows, bool),
        LABELS,
        logits,
    )


@pytest.mark.parametrize("constant", [0.0, 0.25, -3e4, 1e-30])
def test_constant_logits_get_chance_everywhere(constant: float, tmp_path: Path) -> None:
    logits = np.full((100, CLASSES), constant, np.float32)
    said = predictions(logits)
    figures = summary(logits, LABELS, [(0, 1), (2, 3)])
    assert figures["top1"] == figures["mean_class"] == said.correct.mean() == 0.25
    assert figures["forced_choice"] == 0.5
    assert top_k(logits, LABELS, 2) == 0.5
    assert top_k(logits, LABELS, 3) == 0.75
    assert figures["top5"] == top_k(logits, LABELS, 4) == 1
    assert _accuracy(logits, LABELS) == 0.25
    halves = base_to_novel(logits, LABELS, 2)
    assert halves["base_top1"] == halves["novel_top1"] == halves["harmonic"] == 0.25
    for score in pair_scores(logits, LABELS, [(0, 1), (2, 3)]).values():
        assert (score.recall, score.forced_choice, score.auc) == ((0.25, 0.25), 0.5, 0.5)
        assert score.either == score.samples / 2
        assert score.accuracy_either == 0.5
    symmetric, other = symmetric_and_other(logits, LABELS, [(0, 1)])
    assert symmetric is not None
    assert other is not None
    assert symmetric.top1 == symmetric.mean_class == other.top1 == other.mean_class == 0.25
    # Its confidence is what it deserves.
    chances = softmax(logits)
    assert expected_calibration_error(chances, LABELS) == 0
    assert [row.accuracy for row in reliability(chances, LABELS)] == [0.25]
    assert risk_coverage(chances, LABELS).risk == pytest.approx(np.full(100, 0.75))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FILE).write_bytes(encode_predictions(said))
    record = RunRecord.model_construct(run="run", seed=0, config={}, classes=["a", "b", "c", "d"])
    found = Configuration("x", tmp_path, [record], [None])
    assert (confusion(found, found.predictions()) == 0.25).all()


def test_predictions_hold_what_each_sample_counts(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    logits = random.integers(0, 3, (100, CLASSES)).astype(np.float32)
    data = encode_predictions(predictions(logits))
    table = pq.read_table(io.BytesIO(data))
    assert table["correct"].to_numpy().mean() == pytest.approx(top_k(logits, LABELS, 1))
    assert table["predicted"].to_numpy().tolist() == logits.argmax(axis=1).tolist()
    (tmp_path / FILE).write_bytes(data)
    assert (read_predictions(tmp_path).correct == table["correct"].to_numpy()).all()


def test_a_share_is_what_breaking_ties_at_random_gives_on_average() -> None:
    """Against every order in which four classes may be preferred, counted out."""
    random = np.random.default_rng(1)
    logits = random.integers(0, 3, (100, CLASSES)).astype(np.float32)
    orders = list(permutations(range(CLASSES)))
    for k in range(1, CLASSES + 1):
        right = np.zeros(100)
        for order in orders:
            preferred = np.argsort(-logits[:, list(order)], axis=1, kind="stable")[:, :k]
            right += (np.array(order)[preferred] == LABELS[:, None]).any(axis=1)
        assert credit(logits, LABELS, k) == pytest.approx(right / len(orders))
    assert answers(logits)[np.arange(100), LABELS] == pytest.approx(credit(logits, LABELS))
    assert answers(logits).sum(axis=1) == pytest.approx(np.ones(100))


def test_without_ties_it_is_the_plain_count() -> None:
    logits = np.random.default_rng(2).normal(size=(100, CLASSES)).astype(np.float32)
    assert (credit(logits, LABELS) == (logits.argmax(axis=1) == LABELS)).all()
    assert mean_class(logits, LABELS) == pytest.approx(
        np.mean([(logits[c == LABELS].argmax(axis=1) == c).mean() for c in range(CLASSES)])
    )


def test_logits_that_are_no_numbers_are_never_right() -> None:
    logits = np.full((100, CLASSES), np.nan, np.float32)
    figures = summary(logits, LABELS, [(0, 1)])
    assert figures["top1"] == figures["mean_class"] == figures["top5"] == 0
    assert predictions(logits).correct.sum() == 0


def test_an_order_test_does_not_take_a_tie_for_a_change() -> None:
    result = _score(CONSTANT, CONSTANT, LABELS, PARTNER)
    assert result.top1 == result.partner_top1 == 0.25
    assert result.changed == result.flips == result.moved == 0


def test_two_constant_probes_do_not_differ() -> None:
    one, other = predictions(CONSTANT), predictions(CONSTANT + 1)
    found = paired_difference(one.correct, other.correct, one.groups)
    assert (found.mean, found.p) == (0.0, 1.0)


def test_a_video_is_given_the_first_of_classes_that_tie() -> None:
    assert answer(0, 1, np.array([0.2, 0.4, 0.4]), ["a", "b", "c"], 0.0).said == "b"
