"""The table's differences and verdicts, from runs whose numbers are known."""

from pathlib import Path

import numpy as np
import pytest

from stepcli.apply.reproduction.comparison import published_row, table_rows
from stepcli.apply.reproduction.recipe import Margin, Recipe, read_recipe, recipe_names
from stepcli.probe.runs.predictions import FILE, Predictions, encode_predictions
from stepcli.probe.runs.record import RunRecord

CLASSES = ["drop", "lift", "wait"]


def run(method: str, top1: float, seed: int = 0, **task: float) -> RunRecord:
    return RunRecord(
        run=f"{method}-{seed}",
        method=method,
        task="classify",
        config={"task": task},
        seed=seed,
        split="test",
        top1=top1,
        top5=1.0,
        mean_class=top1 / 2,
        forced_choice=None,
        params=1,
        seconds=1.0,
        fingerprint="0" * 64,
        classes=CLASSES,
        pairs=[["drop", "lift"]],
    )


def recipe(measure: str = "top-1") -> Recipe:
    margin = Margin(
        method="step",
        over=("linear", "attentive"),
        measure=measure,  # type: ignore[arg-type]
        low=6,
        high=15,
        tolerance=2,
        source="abstract",
    )
    found = read_recipe("step-ikea-asm")
    return found.model_copy(update={"margins": (margin,), "figures": ()})


@pytest.mark.parametrize(
    ("step", "lead", "difference", "verdict"),
    [
        (0.60, "+10.0", "+0.0", "within"),  # in the range itself
        (0.54, "+4.0", "-2.0", "within"),
        (0.539, "+3.9", "-2.1", "OUTSIDE"),
        (0.67, "+17.0", "+2.0", "within"),
        (0.68, "+18.0", "+3.0", "OUTSIDE"),
        (0.40, "-10.0", "-16.0", "OUTSIDE"),
    ],
)
def test_a_lead_is_measured_from_the_nearer_end_of_its_range(
    step: float, lead: str, difference: str, verdict: str, tmp_path: Path
) -> None:
    # Seeds are averaged, and the strongest of the others counts.
    found = [run("linear", 0.3), run("attentive", 0.5), run("step", step - 0.1)]
    found += [run("step", step + 0.1, seed=1)]
    (row,) = table_rows(recipe(), found, tmp_path, judged=True)
    assert row == [
        "step - attentive (best of 2): top-1",
        *("2", lead, "+6 to +15", difference, "2.0", verdict),
    ]
    (row,) = table_rows(recipe(), found, tmp_path, judged=False)
    assert row[2:] == [lead, "+6 to +15", difference, "-", "not judged"]


def test_a_lead_over_some_of_the_others_is_none(tmp_path: Path) -> None:
    (row,) = table_rows(recipe(), [run("linear", 0.3), run("step", 0.5)], tmp_path, judged=True)
    assert row[2:] == ["-", "+6 to +15", "-", "2.0", "not measured"]


def test_parts_of_train_are_rows_of_their_own(tmp_path: Path) -> None:
    found = [
        run(method, top1 * share, train_share=share)
        for share in (0.05, 0.1)
        for method, top1 in (("linear", 0.1), ("attentive", 0.1), ("step", 0.9))
    ]
    rows = table_rows(recipe("mean class"), found, tmp_path, judged=True)
    assert [row[0].rpartition(": ")[2] for row in rows] == [
        *("mean class, 5 % of train", "mean class, 10 % of train"),
    ]
    assert [row[2] for row in rows] == ["+2.0", "+4.0"]


def test_nearly_symmetric_is_top1_among_all_classes_on_the_pairs_clips(tmp_path: Path) -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    answers = {
        "linear": [0, 1, 0, 0, 2, 2],  # 1 of 4; what is not in a pair does not count
        "attentive": [2, 2, 2, 2, 2, 2],  # none, though the pair's own logits would tie
        "step": [0, 0, 1, 2, 0, 0],  # 3 of 4
    }
    found = []
    for method, said in answers.items():
        logits = np.eye(3, dtype=np.float32)[said]
        names = tuple(f"c{n}" for n in range(6))
        none = np.zeros(6, np.int64)
        table = Predictions(names, names, none, none.astype(bool), labels, logits)
        (tmp_path / f"{method}-0").mkdir()
        (tmp_path / f"{method}-0" / FILE).write_bytes(encode_predictions(table))
        found.append(run(method, 0.5))
    (row,) = table_rows(recipe("nearly symmetric"), found, tmp_path, judged=True)
    assert row[2] == "+50.0"


@pytest.mark.parametrize("name", recipe_names())
def test_a_figure_names_one_published_row(name: str, tmp_path: Path) -> None:
    found = read_recipe(name)
    runs = [run("step", 0.8), run("xclip", 0.45)]
    runs = [each.model_copy(update={"pairs": []}) for each in runs]  # no predictions to read
    rows = table_rows(found, runs, tmp_path, judged=True)
    shown = rows[len(found.margins) :]
    assert len(found.margins) + len(found.figures) == len(rows) > 0
    for figure, row in zip(found.figures, shown, strict=True):
        value = published_row(found, figure).value
        assert row[3].startswith(f"{value:.1f} (")
        if figure.measure == "top-1":
            assert float(row[4]) == pytest.approx(float(row[2]) - value)
        # What another protocol measured is shown, and not judged.
        assert (row[6] == "not judged") == (figure.tolerance is None) or row[2] == "-"
