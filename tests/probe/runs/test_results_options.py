"""`stepcli results`: no option is ignored, and what is written for scripts are numbers."""

import csv
import io
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from command_line import call, invoke

from stepcli.cache.store.store import Store


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, store_of: Callable[..., Store]) -> Path:
    """A selection of 2 seeds, and two tasks of the order suite."""
    home = tmp_path_factory.mktemp("results")
    store = store_of(home / "store", clips_each=30)
    place = ("--store", store.path, "--runs", home / "runs", "--seeds", 2)
    short = ("--method", "linear,first-last", "--epochs", 1, *place)
    call("sweep", *short, "--lr", "1e-3,1e-1", "--select", "--slice-min", "clips=4,groups=2")
    for task in ("arrow", "twins"):
        call("probe", *short, "--task", task, "--clip-frames", 4)
    return home / "runs"


VIEWS = (("--across",), ("--chosen",), ("--order-suite",), ("--compare", "linear", "first-last"))
MORE = (("--slices",), ("--average-splits",), ("--published",))


@pytest.mark.parametrize(
    ("one", "other"), [*combinations(VIEWS, 2), *((view, more) for view in VIEWS for more in MORE)]
)
def test_two_tables_are_not_one(runs: Path, one: tuple[str, ...], other: tuple[str, ...]) -> None:
    for words in ((*one, *other), (*other, *one)):
        said = call("results", "--runs", runs, *words, code=2)
        assert f"{one[0]} and {other[0]} are two tables" in said


@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
def test_published_numbers_are_no_runs(runs: Path, tmp_path: Path, form: str) -> None:
    for folder in (runs, tmp_path / "nowhere"):
        said = call("results", "--runs", folder, "--published", "--format", form, code=2)
        assert f"--format {form} has one entry per run" in said


def test_published_numbers_without_runs_are_written(tmp_path: Path) -> None:
    out = tmp_path / "published.tex"
    nowhere = ("results", "--runs", tmp_path / "nowhere", "--published")
    assert call(*nowhere, "--format", "latex", "--out", out) == ""
    assert "\\begin{tabular}" in out.read_text()
    assert call(*nowhere, "--format", "markdown").count("| --- |") > 1


def test_the_order_suite_takes_the_filters(runs: Path) -> None:
    assert "first-last" in call("results", "--runs", runs, "--order-suite", "--format", "json")
    words = ("results", "--runs", runs, "--method", "linear")
    kept = call(*words, "--order-suite", "--format", "json")
    assert "linear" in kept
    assert "first-last" not in kept
    assert "first-last" not in call(*words)
    said = call("results", "--runs", runs, "--order-suite", "--task", "arrow", code=2)
    assert "no runs of two or more tasks" in said


def test_what_was_chosen_is_numbers_for_scripts(runs: Path) -> None:
    words = ("results", "--runs", runs, "--chosen")
    rows = json.loads(call(*words, "--format", "json"))
    every = json.loads(call("results", "--runs", runs, "--task", "classify", "--format", "json"))
    table = call(*words)
    for row in rows:
        mine = [run["top1"] for run in every if run["method"] == row["method"]]
        assert row["seeds"] == len(mine) == 2
        assert row["mean"] == pytest.approx(sum(mine) / 2)
        assert row["deviation"] == pytest.approx(abs(mine[0] - mine[1]) / 2**0.5)
        assert row["low"] is None or 0 <= row["low"] <= row["mean"] <= row["high"] <= 1
        assert (row["metric"], row["sees_order"]) == ("top1", row["method"] == "first-last")
        assert all(each.startswith("lr=") for each in row["chosen"])
        assert row["notes"].startswith("chosen ")
        assert f"{100 * row['mean']:.1f} ± {100 * row['deviation']:.1f}" in table
    lines = list(csv.DictReader(io.StringIO(call(*words, "--format", "csv"))))
    assert [float(line["mean"]) for line in lines] == [row["mean"] for row in rows]
    assert [json.loads(line["chosen"]) for line in lines] == [row["chosen"] for row in rows]


def test_a_note_on_some_runs_names_them(store_of: Callable[..., Store], tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    words = ("probe", "--method", "linear", "--epochs", 1, "--store", store.path)
    place = ("--runs", tmp_path / "runs")
    call(*words, *place)
    call(*words, *place, "--test-split", "train")
    shown = invoke("results", *place)
    (note,) = [line for line in shown.stderr.splitlines() if "share a group" in line]
    (leaky,) = [
        run["run"]
        for run in json.loads(call("results", *place, "--format", "json"))
        if run["split"] == "train"
    ]
    assert note.startswith(f"note: 1 of 2 runs ({leaky}): ")
    both = call(*words, "--test-split", "train", "--runs", tmp_path / "other")
    assert both
    (note,) = [
        line
        for line in invoke("results", "--runs", tmp_path / "other").stderr.splitlines()
        if "share a group" in line
    ]
    assert note.startswith("note: 8 of 8 test clips")


def test_runs_that_leave_a_group_out_name_it(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "store", clips_each=3)
    words = ("--store", store.path, "--runs", tmp_path / "runs", "--epochs", 1)
    said = call("probe", "--method", "linear", "--protocol", "leave-one-group-out", *words)
    assert {line.split()[4] for line in said.splitlines()[1:]} == {"g0", "g1", "g2"}
    rows = json.loads(call("runs", "--runs", tmp_path / "runs", "--format", "json"))
    assert {row["split"] for row in rows} == {f"leave-one-group-out, g{n}" for n in range(3)}
    shown = call("runs", "show", rows[0]["run"], "--runs", tmp_path / "runs")
    assert f"tested on:  split {rows[0]['split']}, 2 samples" in shown
    assert "labels:     " in shown


def test_a_table_of_chosen_runs_says_where_they_are_one_row(runs: Path) -> None:
    done = invoke("results", "--runs", runs)
    assert "stepcli results --chosen has one row per method" in done.stderr
    assert "slice_seed" not in call("results", "--runs", runs, "--slices")
    assert "--chosen" not in invoke("results", "--runs", runs, "--format", "json").stderr
