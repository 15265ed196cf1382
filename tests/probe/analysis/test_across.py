"""`results --across` on real runs of several stores, tasks and folders."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from command_line import invoke

from stepcli.cache.store.store import Store
from stepcli.probe.report.across_section import across_sections
from stepcli.probe.report.write import write_report

QUICK = ["--epochs", "3", "--batch-size", "16"]
COMMON = ["first-last", "linear"]


def train(store: Path, runs: Path, methods: str, *words: object) -> None:
    command = ["probe", "--store", store, "--runs", runs, "--method", methods, *QUICK, *words]
    done = invoke(*command)
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, store_of: Callable[..., Store]) -> Path:
    """Two data sets of 24 test groups; knn only in one, and one task more of the first."""
    place = tmp_path_factory.mktemp("across")
    store_of(place / "stores/a", clips_each=72)
    store_of(place / "stores/b", clips_each=72, dim=12, dataset="other")
    train(place / "stores/a", place / "a", "linear,first-last,knn", "--seeds", 2)
    train(place / "stores/b", place / "b", "linear,first-last", "--seeds", 2)
    train(place / "stores/a", place / "c", "linear,first-last", "--task", "arrow")
    return place


def records(*words: object) -> list[dict[str, Any]]:
    done = invoke("results", "--across", "--format", "json", *words)
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_data_sets_stand_side_by_side_with_the_values_of_results(home: Path) -> None:
    found = records(home / "a", home / "b")
    single = json.loads(invoke("results", home / "a", "--format", "json").stdout)
    for method in ("linear", "first-last", "knn"):
        (mine,) = [r for r in found if r["method"] == method and r["column"] == "made-up"]
        values = [r["top1"] for r in single if r["method"] == method]
        assert mine["value"] == pytest.approx(sum(values) / len(values))
        assert mine["groups"] == 24
        assert mine["seeds"] == len(values)
    ranked = [r for r in found if r["rank"] is not None]
    assert {r["method"] for r in ranked} == set(COMMON)
    for column in ("made-up", "other"):
        assert sum(r["rank"] for r in ranked if r["column"] == column) == 3
    for method in COMMON:
        mine = [r for r in ranked if r["method"] == method]
        assert mine[0]["mean_rank"] == sum(r["rank"] for r in mine) / 2
        assert mine[0]["mean_rank_low"] <= mine[0]["mean_rank_high"]
    assert sum(r["first"] for r in ranked if r["column"] == "other") == pytest.approx(1)
    assert all(r["mean_rank"] is None for r in found if r["method"] == "knn")


def test_every_format_names_columns_metric_and_what_is_not_ranked(
    home: Path, tmp_path: Path
) -> None:
    folders = (home / "a", home / "b")
    table = invoke("results", *folders, "--across").stdout
    assert table.splitlines()[0].split("  ")[-1].strip() == "first"
    assert "made-up, top1" in table
    assert "other, top1" in table
    assert "not ranked: knn" in table
    assert "made-up: task classify, tested on test, backbone made-up, 48 samples in 24" in table
    assert "not over other data sets" in table
    markdown = invoke("results", *folders, "--across", "--format", "markdown").stdout
    assert markdown.startswith("| method | made-up, top1 | other, top1 | mean rank | 95 % | first")
    assert "\n- other: task classify" in markdown
    out = tmp_path / "t.tex"
    done = invoke("results", *folders, "--across", "--format", "latex", "--out", out)
    assert done.stdout == ""
    latex = out.read_text()
    assert latex.startswith("\\begin{tabular}{lrrrrr}")
    assert "\n% other: task classify" in latex
    text = invoke("results", *folders, "--across", "--format", "csv").stdout
    assert [row["method"] for row in csv.DictReader(text.splitlines())].count("linear") == 2
    refused = invoke("results", *folders, "--across", "--format", "parquet")
    assert refused.exit_code == 2
    assert "--across gives table" in refused.stderr


def test_tasks_of_one_store_never_share_a_column(home: Path) -> None:
    found = records(home / "a", home / "c")
    assert {r["column"] for r in found} == {"made-up classify", "made-up arrow"}
    shots = home / "shots"
    if not shots.exists():
        train(home / "stores/a", shots, "linear,first-last", "--shots", 2)
    names = {r["column"] for r in records(home / "a", shots)}
    assert names == {"made-up", "made-up shots=2"}


def test_settings_that_vary_within_a_column_are_rows_and_chosen_ones_are_not(
    home: Path, tmp_path: Path
) -> None:
    for lr in ("1e-3", "1e-2"):
        train(home / "stores/a", tmp_path / "lr", "linear", "--lr", lr)
    found = records(tmp_path / "lr", home / "b")
    assert {r["method"] for r in found} >= {"linear lr=0.001", "linear lr=0.01"}
    train(home / "stores/a", tmp_path / "own", "linear,first-last", "--lr", "3e-3")
    assert {r["method"] for r in records(tmp_path / "own", home / "b")} == set(COMMON)


def test_few_groups_have_ranks_and_no_interval(
    home: Path, tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    store_of(tmp_path / "few", clips_each=12, dim=8)
    train(tmp_path / "few", tmp_path / "runs", "linear,first-last")
    table = invoke("results", home / "a", tmp_path / "runs", "--across").stdout
    assert "no interval of ranks: made-up few has 4 groups, at least 20 are needed" in table
    assert "mean rank" in table
    assert "95 %" not in table


def test_seeds_that_were_tested_on_other_samples_are_not_ranked(home: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(home / "a", runs)
    (second,) = runs.glob("linear-classify-s1-*")
    path = second / "predictions.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    table = invoke("results", runs, home / "b", "--across").stdout
    assert "made-up: linear not ranked there: tested on other samples" in table


def test_imported_models_are_in_the_column_of_their_samples(home: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(home / "a", runs)
    (like,) = runs.glob("linear-classify-s0-*")
    rows = pq.read_table(like / "predictions.parquet").to_pylist()
    classes = json.loads((like / "run.json").read_text())["classes"]
    lines = [",".join(["clip", *classes])]
    lines += [",".join([row["clip"], *map(str, row["logits"])]) for row in rows]
    (tmp_path / "logits.csv").write_text("\n".join(lines))
    command = ["results", "import", tmp_path / "logits.csv", "--like", like.name, "--runs", runs]
    assert invoke(*command, "--name", "tuned").exit_code == 0
    found = [r for r in records(runs, home / "b") if r["method"] == "tuned (imported)"]
    assert [r["column"] for r in found] == ["made-up"]


def test_one_data_set_and_other_tables_are_refused(home: Path) -> None:
    alone = invoke("results", home / "a", "--across")
    assert alone.exit_code == 2
    assert "all runs are of made-up, task classify" in alone.stderr
    two = invoke("results", home / "a", home / "b")
    assert two.exit_code == 2
    assert "side by side with --across" in two.stderr
    for words in (["--chosen"], ["--compare", "linear"], ["--published"], ["--slices"]):
        done = invoke("results", home / "a", home / "b", "--across", *words)
        assert done.exit_code == 2
        assert f"--across and {words[0]}" in done.stderr


def test_the_report_of_two_data_sets_begins_with_both(home: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(home / "a", runs)
    for folder in (home / "b").iterdir():
        if folder.is_dir():
            shutil.copytree(folder, runs / folder.name, dirs_exist_ok=True)
    (section,) = across_sections(runs)
    (table,) = section.parts()
    assert "other, top1" in table.csv()
    assert str(section.words()["headline"]).startswith("lowest mean rank: ")
    for path in {*runs.glob("knn*"), *runs.glob("*-s1-*"), *runs.glob("linear*")}:
        shutil.rmtree(path)
    write_report(runs, tmp_path / "report", pdf=False)
    page = (tmp_path / "report/index.html").read_text()
    assert page.index("All data sets together") < page.index('id="study-1"')
    assert "other, top1" in (tmp_path / "report/tables/across.csv").read_text()
    assert across_sections(home / "a") == []
