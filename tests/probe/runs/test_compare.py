"""Comparing methods on the same clips, and other people's logits among them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import invoke

from stepcli.cache.store.store import Store

CROPS = [
    "--task",
    "arrow",
    "--clip-frames",
    "4",
    "--temporal-crop",
    "--epochs",
    "60",
    "--seeds",
    "2",
]


@pytest.fixture
def runs(store_of: Callable[..., Store], tmp_path: Path) -> Path:
    store = store_of(tmp_path / "store", clips_each=60)
    runs = tmp_path / "runs"
    done = invoke(
        "probe", "--method", "first-last,linear", "--store", store.path, "--runs", runs, *CROPS
    )
    assert done.exit_code == 0, done.output
    return runs


def rows(runs: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        invoke("results", "--runs", runs, "--format", "json").stdout
    )
    return found


def logits_file(runs: Path, run: str, path: Path, **change: object) -> Path:
    """The logits of a run as another project would hand them over."""
    record = json.loads((runs / run / "run.json").read_text())
    table = pq.read_table(runs / run / "predictions.parquet").to_pylist()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "start_frame", "backward", *record["classes"]])
        for line, row in enumerate(table):
            # As Python spells it, and as a number.
            backward = row["backward"] if line % 2 else int(row["backward"])
            writer.writerow([row["clip"], row["start_frame"], backward, *row["logits"]])
    return path


def test_a_sure_gain_is_called_one(runs: Path) -> None:
    done = invoke("results", "--runs", runs, "--compare", "linear", "first-last")
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    gain = np.mean([r["top1"] for r in rows(runs) if r["method"] == "first-last"]) - 0.5
    assert line.startswith(f"first-last - linear: {100 * gain:+.1f} points, 95 % interval [+")
    assert "over 20 groups and 2 seeds" in line
    assert line.endswith("after Holm: differs")
    # The same gain in all 20 groups: 2 / 1.5^20.
    assert "p = 0.0006 after" in line


def test_few_groups_are_shown_one_by_one(store: Store, tmp_path: Path) -> None:
    words = ("--store", store.path, "--runs", tmp_path / "r", *CROPS[:-4], "--epochs", 1)
    assert invoke("probe", "--method", "first-last,linear", *words).exit_code == 0
    done = invoke("results", "--runs", tmp_path / "r", "--compare", "linear,first-last")
    assert "fewer than 20 groups, no interval; by group: g2 " in done.stdout


def test_imported_logits_stand_beside_the_probes(runs: Path, tmp_path: Path) -> None:
    run = next(r["run"] for r in rows(runs) if r["method"] == "first-last")
    file = logits_file(runs, run, tmp_path / "logits.csv")
    words = ("results", "import", file, "--like", run, "--name", "other-model", "--params", 86)
    done = invoke(*words, "--runs", runs)
    assert done.exit_code == 0, done.output
    by_method = {r["method"]: r for r in rows(runs) if r["seed"] == 0}
    mine, theirs = by_method["first-last"], by_method["other-model"]
    for metric in ("top1", "top5", "mean_class", "forced_choice", "fingerprint", "split"):
        assert mine[metric] == theirs[metric]
    assert theirs["params"] == 86
    assert "other-model" in invoke("results", "--runs", runs).stdout
    compared = invoke("results", "--runs", runs, "--compare", "linear,other-model")
    assert "other-model - linear: +" in compared.stdout


@pytest.mark.parametrize("name", ["../x", "a/b", "my model", "a,b", ".x", "-x", "_", "a\nb"])
def test_a_name_that_is_no_folders_or_lists_is_refused(
    runs: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "logits.csv").write_text("clip\n")
    words = ("results", "import", tmp_path / "logits.csv", "--runs", runs, "--like", "first-last")
    before = sorted(path.name for path in runs.parent.iterdir())
    done = invoke(*words[:-1], next(runs.glob("first-last-*-s0-*")).name, f"--name={name}")
    assert done.exit_code == 2
    assert "expected a name without blanks, commas and slashes" in done.stderr
    assert sorted(path.name for path in runs.parent.iterdir()) == before


def test_the_run_of_the_samples_is_named_by_its_beginning(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "logits.csv").write_text("clip\n")
    words = ("results", "import", tmp_path / "logits.csv", "--runs", runs, "--name", "Löwe-2.0+x")
    assert (
        "expected the columns clip,close,open"
        in invoke(*words, "--like", next(runs.glob("first-last-*-s0-*")).name[:-3]).stderr
    )
    assert "several runs begin with" in invoke(*words, "--like", "first").stderr
    assert "list them with stepcli runs" in invoke(*words, "--like", "nothing").stderr


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: lines[:-1], "; missing 1: clip "),
        (lambda lines: [*lines, "no/clip,0,0,1.0,2.0"], "; not tested by that run 1: clip no/clip"),
        (lambda lines: [*lines, lines[-1]], "twice"),
        (lambda lines: [lines[0].replace("open", "opn"), *lines[1:]], "missing: open"),
        (lambda lines: [*lines[:-1], lines[-1][:-3] + "x"], "expected numbers"),
        (
            lambda lines: [*lines[:-1], lines[-1].rpartition(",")[0] + ",nan"],
            "expected finite logits",
        ),
    ],
)
def test_logits_that_do_not_fit_are_refused(
    spoil: Callable[[list[str]], list[str]], message: str, runs: Path, tmp_path: Path
) -> None:
    run = rows(runs)[0]["run"]
    file = logits_file(runs, run, tmp_path / "logits.csv")
    file.write_text("\n".join(spoil(file.read_text().splitlines())))
    done = invoke("results", "import", file, "--like", run, "--name", "x", "--runs", runs)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(rows(runs)) == 4


def test_what_cannot_be_compared_is_refused(runs: Path, tmp_path: Path) -> None:
    unknown = invoke("results", "--runs", runs, "--compare", "linear,first-lst")
    assert "did you mean first-last" in unknown.stderr
    words = ("--store", tmp_path / "store", "--runs", runs, *CROPS, "--lr", 0.5)
    invoke("probe", "--method", "linear", *words)
    several = invoke("results", "--runs", runs, "--compare", "first-last,linear")
    assert several.exit_code == 2
    assert "linear has several settings for one seed (lr=0.01, lr=0.5)" in several.stderr
    assert "choose with e.g. --set lr=0.01" in several.stderr
    words = ("results", "--runs", runs, "--compare", "linear", "first-last")
    # The other setting of linear is chosen by its own value; first-last has no run with that.
    assert "first-last" in invoke(*words, "--set", "lr=0.5").stderr
    invoke(
        "probe",
        "--method",
        "linear,first-last",
        "--epochs",
        1,
        "--store",
        tmp_path / "store",
        "--runs",
        runs,
    )
    tasks = invoke(*words)
    assert "runs of several tasks arrow, classify; choose with e.g. --task arrow" in tasks.stderr
    assert invoke(*words, "--task", "classify").exit_code == 0


@pytest.mark.parametrize("form", ["csv", "json", "markdown", "latex"])
def test_a_comparison_has_the_formats_of_results(form: str, runs: Path, tmp_path: Path) -> None:
    words = ("results", "--runs", runs, "--compare", "linear", "first-last", "--format", form)
    printed = invoke(*words).stdout
    out = tmp_path / "compared"
    assert invoke(*words, "--out", out).stdout == ""
    assert out.read_text() == printed
    if form in ("csv", "json"):
        found = (
            json.loads(printed) if form == "json" else list(csv.DictReader(printed.splitlines()))
        )
        (row,) = found
        assert (row["method"], row["against"]) == ("first-last", "linear")
        assert float(row["low"]) <= float(row["points"]) <= float(row["high"])
        assert row["verdict"] in ("differs", "no difference shown")
    else:
        assert "first-last" in printed
    refused = invoke(*words[:-1], "parquet")
    assert refused.exit_code == 2
    assert "--format parquet holds runs" in refused.stderr


def test_runs_of_two_stores_are_told_apart_by_a_filter_that_works(
    runs: Path, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    other = store_of(tmp_path / "other" / "store", clips_each=20)  # of the same name
    words = ("--method", "linear,first-last", "--store", other.path, "--runs", runs, *CROPS)
    invoke("probe", *words)
    compare = ("results", "--runs", runs, "--compare", "linear", "first-last")
    refused = invoke(*compare)
    assert "has runs of several stores" in refused.stderr
    chosen = refused.stderr.rpartition("choose with e.g. ")[2].split()
    assert chosen[0] == "--store"
    assert invoke(*compare, *chosen).exit_code == 0
