"""`stepcli probe` and `results`, through the door as a user comes."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import invoke
from safetensors.numpy import load_file

from stepcli.cache.schema.clips import ClassRow
from stepcli.cache.store.store import Store
from stepcli.probe.runs.metrics import summary
from stepcli.probe.runs.record import read_runs
from stepcli.probe.runs.table import render

CROPS = ("--task", "arrow", "--clip-frames", "4", "--temporal-crop", "--epochs", "2")


@pytest.fixture
def runs(store: Store, tmp_path: Path) -> Path:
    """Two methods, two seeds."""
    runs = tmp_path / "runs"
    done = invoke(
        *("probe", "--method", "step,linear", "--seeds", 2, "--store", store.path),
        *("--runs", runs, "--set", "heads=4", *CROPS),
    )
    assert done.exit_code == 0, done.output
    return runs


def table(runs: Path) -> list[dict[str, Any]]:
    done = invoke("results", "--runs", runs, "--format", "json")
    assert done.exit_code == 0, done.output
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_json_has_one_object_a_run(runs: Path, store: Store) -> None:
    rows = table(runs)
    assert [(row["method"], row["seed"]) for row in rows] == [
        *(("linear", 0), ("linear", 1), ("step", 0), ("step", 1))
    ]
    for row in rows:
        assert row["fingerprint"] == store.fingerprint
        assert (row["task"], row["split"]) == ("arrow", "test")
        assert 0 <= row["top1"] <= 1
    assert rows[0]["top1"] == rows[0]["forced_choice"] == 0.5
    assert rows[2]["config"]["options"]["heads"] == 4


def test_a_run_folder_suffices_to_make_its_numbers_again(runs: Path) -> None:
    for row in table(runs):
        folder = runs / row["run"]
        assert sorted(path.name for path in folder.iterdir()) == [
            *("predictions.parquet", "probe.safetensors", "run.json")
        ]
        record = json.loads((folder / "run.json").read_text())
        predictions = pq.read_table(folder / "predictions.parquet")
        logits = np.stack(predictions["logits"].to_numpy())
        labels = predictions["label"].to_numpy()
        pairs = [tuple(record["classes"].index(c) for c in pair) for pair in record["pairs"]]
        again = summary(logits, labels, pairs)
        assert again == {name: record[name] for name in again}
        assert np.array_equal(predictions["predicted"].to_numpy(), logits.argmax(axis=1))
        weights = load_file(folder / "probe.safetensors")
        assert sum(w[0].size for w in weights.values()) == record["params"]
        assert {"torch", "stepcli"} <= record["versions"].keys()


def test_finished_runs_are_not_done_again(runs: Path, store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("run.json")}
    again = invoke(
        *("probe", "--method", "step,linear", "--seeds", 3, "--store", store.path),
        *("--runs", runs, "--set", "heads=4", *CROPS),
    )
    assert again.exit_code == 0, again.output
    assert "4 of 6 runs are done already" in again.output
    assert len(table(runs)) == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_setting_is_another_run(runs: Path, store: Store) -> None:
    done = invoke(
        *("probe", "--method", "linear", "--lr", 0.02, "--store", store.path),
        *("--runs", runs, *CROPS),
    )
    assert done.exit_code == 0, done.output
    text = invoke("results", "--runs", runs).stdout
    assert "linear lr=0.02" in text
    assert "linear lr=0.01" in text


def test_the_table_aggregates_seeds(runs: Path) -> None:
    lines = invoke("results", "--runs", runs).stdout.splitlines()
    assert lines[0].split()[:4] == ["method", "task", "split", "seeds"]
    assert len(lines) == 3
    assert "50.0 ± 0.0" in next(line for line in lines if line.startswith("linear"))
    markdown = invoke("results", "--runs", runs, "--format", "markdown").stdout.splitlines()
    assert len(markdown) == 4
    assert all(line.startswith("| ") for line in markdown)
    # On a terminal lines do not wrap: columns are left out, and named.
    narrow = render(read_runs(runs), "table", width=60).splitlines()
    assert max(map(len, narrow[:-1])) <= 60 < max(map(len, lines))
    assert narrow[-1].startswith("(no room for s/run, params")
    assert "top1" in narrow[0].split()
    assert render(read_runs(runs), "table", width=500).splitlines() == lines


def test_latex_is_ready_to_paste(runs: Path) -> None:
    text = invoke("results", "--runs", runs, "--format", "latex").stdout
    assert text.startswith("\\begin{tabular}{l")
    assert "mean\\_class" in text
    assert r"50.0 $\pm$ 0.0" in text
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(rows) == 3
    assert {line.count("&") for line in rows} == {8}  # two classes: no top-5


def test_csv_says_what_json_says(runs: Path) -> None:
    text = invoke("results", "--runs", runs, "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    for from_csv, from_json in zip(rows, table(runs), strict=True):
        assert from_csv.keys() == from_json.keys()
        assert float(from_csv["top1"]) == from_json["top1"]
        assert json.loads(from_csv["config"]) == from_json["config"]


def test_one_seed_has_no_deviation(store: Store, tmp_path: Path) -> None:
    invoke("probe", "--method", "linear", "--store", store.path, "--runs", tmp_path / "r", *CROPS)
    assert "±" not in invoke("results", "--runs", tmp_path / "r").stdout


def test_a_sweep_takes_pairs_and_splits_as_a_probe_does(store: Store, tmp_path: Path) -> None:
    """The arrow task's error names --pairs, also where a sweep is what was asked for."""
    classes = store.classes()
    store.replace_classes([ClassRow(row.name, row.index) for row in classes])
    words = ("--method", "linear", "--store", store.path, "--seeds", 1, *CROPS)
    refused = invoke("sweep", *words, "--runs", tmp_path / "none")
    assert refused.exit_code == 2
    assert "give --pairs FILE" in refused.output
    pairs = tmp_path / "pairs.csv"
    one, other = sorted(row.name for row in classes)[:2]
    pairs.write_text(f"label,partner\n{one},{other}\n")
    place = ("--pairs", pairs, "--train-split", "test", "--test-split", "train")
    for command in ("probe", "sweep"):
        done = invoke(command, *words, *place, "--runs", tmp_path / command)
        assert done.exit_code == 0, done.output
    (first,), (second,) = table(tmp_path / "probe"), table(tmp_path / "sweep")
    assert first["run"] == second["run"]  # the same settings are the same run
    assert second["config"]["task"]["pairs"] == [[one, other]]
    assert second["split"] == "train"


def test_without_pairs_there_is_no_forced_choice(store: Store, tmp_path: Path) -> None:
    store.replace_classes([ClassRow("close", 0), ClassRow("open", 1)])
    words = ("--store", store.path, "--runs", tmp_path / "r", "--epochs", 1)
    assert invoke("probe", "--method", "linear", *words).exit_code == 0
    (row,) = table(tmp_path / "r")
    assert row["forced_choice"] is None
    assert row["task"] == "classify"
    assert " - " in invoke("results", "--runs", tmp_path / "r").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--method stepp", "did you mean step"),
        ("--method step --set head=4", "did you mean heads"),
        ("--method step --set heads", "expected option=value"),
        ("--method step --set heads=5", "heads=5 does not divide"),
        ("--method step --set heads=x", "option heads='x'"),
        ("--method step --lr -1", "--lr -1.0: Input should be greater than 0"),
        ("--method step --label-smoothing 1", "--label-smoothing 1.0"),
        ("--method step --temporal-crop", "needs a length"),
        ("--method step --temporal-crop --jitter", "are two ways to choose frames"),
        ("--method difference --set probe=duration", "expected a method that reads tokens"),
        ("--method step --accumulate 3", "does not divide --batch-size 64"),
        ("--method step --device cuda:7", "this machine has cpu"),
        ("--method step --test-split val", "split 'val'"),
        ("--method step --pairs nowhere.csv", "nowhere.csv"),
        ("--method step --set tokens=cls", "extract with --tokens cls"),
    ],
)
def test_bad_input_is_one_line(words: str, message: str, store: Store, tmp_path: Path) -> None:
    done = invoke("probe", *words.split(), "--store", store.path, "--runs", tmp_path / "r")
    assert done.exit_code == 2
    assert message in done.stderr
    assert len([line for line in done.stderr.splitlines() if line]) == 1
    assert not (tmp_path / "r").exists()


def test_a_folder_of_runs_that_cannot_be_written_to_is_said_before_the_training(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "r").write_text("a file, where runs were to go")
    done = invoke("probe", "--method", "linear", "--store", store.path, "--runs", tmp_path / "r")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: cannot write to {tmp_path / 'r'}: ")
    assert "in memory" not in done.stdout


def test_a_damaged_run_is_named(runs: Path) -> None:
    damaged = runs / table(runs)[0]["run"] / "run.json"
    damaged.write_text("{")
    done = invoke("results", "--runs", runs)
    assert done.exit_code == 2
    assert str(damaged) in done.stderr


def test_an_unfinished_run_is_not_seen(runs: Path) -> None:
    (runs / ".step-0-left-behind").mkdir()
    (runs / ".step-0-left-behind" / "run.json").write_text("{")
    assert len(table(runs)) == 4


def test_no_runs_says_how_to_make_some(tmp_path: Path) -> None:
    done = invoke("results", "--runs", tmp_path / "nowhere")
    assert done.exit_code == 2
    assert "train with stepcli probe" in done.stderr
    (tmp_path / "empty").mkdir()
    assert "no finished run" in invoke("results", "--runs", tmp_path / "empty").stderr


def test_published_numbers_have_a_table_of_their_own(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "published.csv"
    file.write_text("method,value,params,source,split\nadapter,61.5,5000000,arXiv 1,val\n")
    done = invoke("results", "import", file, "--runs", runs)
    assert done.exit_code == 0, done.output
    *_, protocol, header, row = invoke("results", "--runs", runs).stdout.splitlines()
    assert protocol == "split val: top-1"
    assert header.split()[:3] == ["published", "method", "top-1"]
    assert row.split() == ["adapter", "61.5", "-", "5,000,000", "arXiv", "1", "-"]
    file.write_text("method,value,params,source\nadapter,161.5,5,arXiv 1\n")
    assert invoke("results", "import", file, "--runs", runs).exit_code == 2
    assert "61.5" in invoke("results", "--runs", runs).stdout
    logits = tmp_path / "logits.csv"
    logits.write_text("clip,open,close\n")
    assert "needs --like" in invoke("results", "import", logits, "--runs", runs).stderr


def test_parquet_says_what_json_says(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs.parquet"
    assert invoke("results", "--runs", runs, "--format", "parquet", "--out", out).exit_code == 0
    for mine, theirs in zip(pq.read_table(out).to_pylist(), table(runs), strict=True):
        assert json.loads(mine.pop("config")) == theirs.pop("config")
        assert mine == theirs
    assert "--out runs.parquet" in invoke("results", "--runs", runs, "--format", "parquet").stderr


def test_latex_is_bold_only_where_holm_lets_it(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    """22 groups: enough for an interval, and a difference that no chance explains."""
    place = ("--store", store_of(tmp_path / "s", clips_each=66).path, "--runs", tmp_path / "r")
    words = ("--task", "arrow", "--clip-frames", 4, "--temporal-crop", "--epochs", 25)
    done = invoke("probe", "--method", "first-last,linear", "--seeds", 2, *words, *place)
    assert done.exit_code == 0, done.output
    text = invoke("results", "--runs", tmp_path / "r", "--format", "latex").stdout
    (bold,) = [line for line in text.splitlines() if "textbf" in line]
    assert bold.startswith("first-last & arrow & test & 2 & \\textbf{100.0 $\\pm$ 0.0}")
    first = invoke("probe", "--method", "first-last", "--seeds", 2, "--lr", 0.011, *words, *place)
    assert first.exit_code == 0
    assert "textbf" not in invoke("results", "--runs", tmp_path / "r", "--format", "latex").stdout


def test_official_splits_are_averaged_apart_from_seeds(store: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for number in range(3):
        rows = [
            f"{row.id},{'test' if i % 3 == number else 'train'}"
            for i, row in enumerate(store.clips())
        ]
        (tmp_path / f"split{number}.csv").write_text("\n".join(["clip,split", *rows]) + "\n")
        words = ("--split-file", tmp_path / f"split{number}.csv", "--seeds", 2, "--epochs", 1)
        done = invoke("probe", "--method", "linear", *words, "--store", store.path, "--runs", runs)
        assert done.exit_code == 0, done.output
    assert len(invoke("results", "--runs", runs).stdout.splitlines()) == 4
    lines = invoke("results", "--runs", runs, "--average-splits").stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:5] == ["linear", "classify", "3", "splits", "2"]
    wrong = ("--split-file", tmp_path / "nowhere.csv", "--store", store.path, "--runs", runs)
    assert "nowhere.csv" in invoke("probe", "--method", "linear", *wrong).stderr


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_trackers_get_losses_and_results(name: str, store: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    place = ("--store", store.path, "--runs", runs)
    done = invoke("probe", "--method", "linear", "--track", name, "--epochs", 3, *place)
    assert done.exit_code == 0, done.output
    files = [path for path in (runs / ".tracking" / name).rglob("*") if path.is_file()]
    held = b"".join(path.read_bytes() for path in files)
    assert b"train/loss" in held or any("loss" in str(path) for path in files)
    assert len(table(runs)) == 1
    unknown = invoke("probe", "--method", "linear", "--track", "tensorbord", "--lr", 0.5, *place)
    assert "did you mean tensorboard" in unknown.stderr
    removed = invoke("probe", "--method", "linear", "--track", "mlflow", "--lr", 0.5, *place)
    assert removed.exit_code == 2
    assert "--track mlflow was removed; use tensorboard or wandb" in removed.stderr


def test_views_are_averaged_to_one_answer_a_clip(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    views = ("center", "left", "crop0", "crop1")
    store = store_of(tmp_path / "s", views=views)
    place = ("--store", store.path, "--runs", tmp_path / "r")
    done = invoke("probe", "--method", "linear", "--epochs", 2, *place)
    assert done.exit_code == 0, done.output
    (row,) = table(tmp_path / "r")
    held = pq.read_table(tmp_path / "r" / row["run"] / "predictions.parquet")
    assert sorted(held["clip"].to_pylist()) == [
        *("close/2@center", "close/5@center", "open/2@center", "open/5@center")
    ]
    chances = np.exp(np.stack(held["logits"].to_numpy()))
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
