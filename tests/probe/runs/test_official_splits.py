"""Several official splits: one run for each, averaged in tables, never mixed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import call, invoke

from stepcli.cache.schema.official_splits import (
    chosen_splits,
    official_cell,
    official_names,
    parse_official,
    split_in,
)
from stepcli.cache.store.store import Store
from stepcli.probe.runs.configurations import configurations
from stepcli.probe.runs.record import read_runs
from stepcli.runtime.errors import UsageError


def test_a_cell_says_what_a_clip_is_in_each_split() -> None:
    cell = official_cell({"2": "test", "10": "val", "1": "train", "3": ""})
    assert cell == "split1=train split2=test split10=val"
    assert parse_official(cell) == {"1": "train", "2": "test", "10": "val"}
    assert [split_in(cell, name) for name in ("1", "2", "3")] == ["train", "test", ""]
    assert official_names([cell, "", "split3=Training"]) == ("1", "2", "3", "10")
    # A plain split stays one, whatever it is called.
    for plain in ("train", "Training ", "split1", "fold=1", "split1=train and more", ""):
        assert parse_official(plain) == {}
    assert split_in("Training ", "2") == "train"


def test_splits_are_chosen_by_name() -> None:
    names = ("1", "2", "3")
    assert chosen_splits(None, names) == ("1",)
    assert chosen_splits("all", names) == names
    for asked in ("3,1", "3 1", "3, 1", "3,1,3"):
        assert chosen_splits(asked, names) == ("3", "1")
    assert chosen_splits(None, ()) == (None,)
    with pytest.raises(UsageError, match="the store has the official splits 1, 2, 3"):
        chosen_splits("4", names)
    with pytest.raises(UsageError, match="has no official splits"):
        chosen_splits("1", ())


@pytest.fixture
def store(store_of: Callable[..., Store], tmp_path: Path) -> Store:
    """Twelve clips in six groups; each of three splits tests on two of the groups."""
    found = store_of(tmp_path / "ucf")

    def cell(number: int) -> str:
        return official_cell(
            {str(s): "test" if number // 2 == s - 1 else "train" for s in (1, 2, 3)}
        )

    found.change_clips(
        lambda rows: [
            replace(row, split=cell(int(row.id.split("/")[1])), group=f"g{row.id.split('/')[1]}")
            for row in rows
        ]
    )
    return found


def test_a_sweep_notes_the_other_splits_once(store: Store, tmp_path: Path) -> None:
    where = ("--store", store.path, "--runs", tmp_path / "runs", "--dry-run")
    done = invoke("sweep", "--method", "linear,first-last", "--lr", "1e-3,1e-2", *where)
    assert done.stderr.count("this is split 1 alone") == 1


def test_each_split_is_trained_and_tables_average_them(store: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    probe = ("probe", "--method", "linear,first-last", "--epochs", 2, "--seeds", 2)
    where = ("--store", store.path, "--runs", runs)
    call(*probe, *where, "--split", "1,2,3")
    found = read_runs(runs)
    assert sorted(run.part or "" for run in found) == ["1"] * 4 + ["2"] * 4 + ["3"] * 4
    assert {run.test_samples for run in found} == {4}
    assert all(f"-split{run.part}-" in run.run for run in found)
    table = call("results", "--runs", runs).splitlines()
    assert len(table) == 3
    assert all("3 splits" in line for line in table[1:])
    for line in table[1:]:
        mine = [run for run in found if run.method == line.split()[0]]
        mean = sum(run.top1 for run in mine) / len(mine)
        assert f"{100 * mean:.1f}" in line
        assert "=" not in line  # no setting, and no digest, is needed to tell rows apart
    # The seeds of a method have said something about the test clips of all splits.
    (both,) = configurations(runs, ["linear"])
    assert both.tested_on == "test, splits 1, 2, 3"
    assert "linear: classify, split test, splits 1, 2, 3" in call("analyse", runs)
    assert [len(said.clips) for said in both.predictions()] == [12, 12]
    compared = json.loads(
        call("results", "--runs", runs, "--compare", "linear", "first-last", "--format", "json")
    )
    assert (compared[0]["groups"], compared[0]["seeds"]) == (6, 2)
    assert "12 of 12 runs are done already" in call(*probe, *where, "--split", "all")


def test_splits_that_not_all_methods_were_trained_on_are_not_compared(
    store: Store, tmp_path: Path
) -> None:
    where = ("--store", store.path, "--runs", tmp_path / "runs", "--epochs", 1)
    call("probe", "--method", "linear", *where, "--split", "1 2")
    done = invoke("probe", "--method", "first-last", *where)
    assert done.exit_code == 0
    assert "this is split 1 alone; --split 1,2,3 trains on each" in done.stderr
    rows = call("results", "--runs", tmp_path / "runs").splitlines()[1:]
    told = {line.split()[0]: line for line in rows}
    assert "2 splits" in told["linear"]
    assert "test, split 1" in told["first-last"]
    words = ("results", "--runs", tmp_path / "runs", "--compare", "linear", "first-last")
    assert "were tested on different samples" in call(*words, code=2)


def test_a_sweep_takes_splits_too(store: Store, tmp_path: Path) -> None:
    words = ("--store", store.path, "--runs", tmp_path / "runs", "--epochs", 1, "--seeds", 1)
    call("sweep", "--method", "linear", "--lr", "0.01,0.1", "--split", "1,3", *words)
    found = read_runs(tmp_path / "runs")
    assert sorted(run.part or "" for run in found) == ["1", "1", "3", "3"]
    assert len(call("results", "--runs", tmp_path / "runs").splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--split", "4"), "--split 4: the store has the official splits 1, 2, 3"),
        (("--split", "1", "--split-file", "{file}"), "two ways to split"),
    ],
)
def test_wrong_splits_are_one_line(
    words: tuple[str, ...], told: str, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "split.csv"
    file.write_text("clip,split\nopen/0,train\n")
    given = [word.format(file=file) for word in words]
    where = ("--store", store.path, "--runs", tmp_path / "runs")
    said = call("probe", "--method", "linear", *where, *given, code=2)
    assert told in said
    assert len(said.strip().splitlines()) == 1


def test_a_table_of_a_user_may_have_several_splits(store: Store, tmp_path: Path) -> None:
    """The cells survive being written and read, and leaks are looked for in each split."""
    table = tmp_path / "clips.csv"
    call("store", "labels", "--to", table, "--store", store.path)
    assert "split1=test split2=train split3=train" in table.read_text()
    assert "0 clips changed" in call("store", "labels", "--from", table, "--store", store.path)
    table.write_text(table.read_text().replace(",g1,", ",g2,"))
    said = call("store", "labels", "--from", table, "--store", store.path)
    assert "official split 1: " in said
