"""A store's labels, splits and groups are edited after training: no number of before is kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import call, invoke

from stepcli.cache.store.store import Store
from stepcli.probe.runs.record import RunRecord, read_runs

Words = tuple[object, ...]


def folder(store: Store) -> Path:
    return Path(str(store.path))


def edit(store: Store, *lines: str, column: str = "label") -> None:
    """Change one column of the clips table as a user does."""
    file = folder(store).parent / "edited.csv"
    file.write_text("\n".join((f"id,{column}", *lines)) + "\n")
    call("store", "labels", "--from", file, "--store", store.path)


@pytest.fixture
def store(store_of: Callable[..., Store], tmp_path: Path) -> Store:
    return store_of(tmp_path / "s", clips_each=36, partners={"open": "close", "close": "open"})


@pytest.fixture
def probe(store: Store, tmp_path: Path) -> Words:
    """Words of a short training into `runs`."""
    return (
        *("probe", "--method", "linear", "--epochs", 1),
        *("--store", store.path, "--runs", tmp_path / "runs"),
    )


def trained(words: Words, *more: object) -> int:
    """How many runs a command trains, the others being done already."""
    said = call(*words, *more)
    return sum(" seed " in line for line in said.splitlines())


CHANGES = {
    "label of a training clip": ("label", "open/0,close"),
    "label of a test clip": ("label", "open/35,close"),
    "a new class": ("label", "open/0,ajar"),
    "from train to test": ("split", "open/0,test"),
    "from test to train": ("split", "open/35,train"),
    "out of train": ("split", "open/0,val"),
    "groups of training clips": ("group", "open/0,day1\nopen/1,day1"),
    "groups of test clips": ("group", "open/35,day1\nopen/32,day1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_table_trains_again(store: Store, probe: Words, change: str) -> None:
    assert trained(probe) == 1
    assert trained(probe) == 0
    column, lines = CHANGES[change]
    before = (folder(store) / "clips.parquet").read_bytes()
    edit(store, lines, column=column)
    assert trained(probe) == 1
    assert trained(probe) == 0
    # Undone, the first run is the one.
    (folder(store).parent / "before.parquet").write_bytes(before)
    call(
        "store",
        "labels",
        "--from",
        folder(store).parent / "before.parquet",
        "--store",
        store.path,
    )
    assert trained(probe) == 0


def test_what_a_run_does_not_read_trains_nothing_again(store: Store, probe: Words) -> None:
    edit(store, "open/0,val", "close/0,val", column="split")
    assert trained(probe) == 1
    edit(store, "open/0,close")  # of a clip in neither split
    edit(store, "open/1,open")  # as it was
    classes = folder(store) / "classes.csv"
    copy = folder(store).parent / "classes.csv"
    copy.write_text(classes.read_text().replace("close", "close", 1))
    call("store", "labels", "--classes", copy, "--store", store.path)
    assert trained(probe) == 0


def test_new_pairs_train_tasks_of_order_again(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    pairs = {"a": "b", "b": "a", "c": "d", "d": "c"}
    store = store_of(tmp_path / "s", labels=("a", "b", "c", "d"), partners=pairs)
    words = (
        *("probe", "--method", "linear", "--epochs", 1),
        *("--store", store.path, "--runs", tmp_path / "runs"),
    )
    arrow = (*words, "--task", "arrow")
    assert trained(arrow) == trained(words) == 1
    rows = [
        replace(row, partner={"a": "c", "c": "a", "b": "d", "d": "b"}[row.name])
        for row in store.classes()
    ]
    store.replace_classes(rows)
    assert trained(words) == 0
    assert trained(arrow) == 1
    assert trained(arrow) == 0


def test_seeds_of_two_tables_are_two_rows(store: Store, probe: Words, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    call(*probe, "--seeds", 2)
    edit(store, "open/0,close", "open/35,close")
    call(*probe, "--seeds", 3)
    rows = call("results", "--runs", runs).splitlines()[1:]
    assert len(rows) == 2
    assert len({row.split()[1] for row in rows}) == 2
    assert all(row.split()[1].startswith("labels=") for row in rows)
    said = call("results", "--runs", runs, "--compare", "linear", code=2)
    assert "labels" in said
    chosen = rows[0].split()[1]
    assert len(call("results", "--runs", runs, "--set", chosen).splitlines()) == 2


def test_methods_of_two_tables_are_not_compared(store: Store, probe: Words, tmp_path: Path) -> None:
    call(*probe)
    edit(store, "open/35,close")
    call(*probe, "--method", "first-last")
    runs = tmp_path / "runs"
    said = call("results", "--runs", runs, "--compare", "linear", "first-last", code=2)
    assert "labels" in said


def earlier(runs: Path) -> list[RunRecord]:
    """Turn runs into those of the version that did not record the tables."""
    found = []
    for record in read_runs(runs, slices=True):
        identity = record.settings.run_id(record.fingerprint)
        name = record.settings.run_name(identity)
        (runs / record.run).rename(runs / name)
        old = json.loads((runs / name / "run.json").read_text())
        del old["tables"]
        (runs / name / "run.json").write_text(json.dumps(old | {"run": name, "identity": identity}))
        found.append(record)
    return found


def test_runs_of_an_earlier_version_are_kept_where_they_fit(
    store: Store, probe: Words, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    assert trained(probe, "--seeds", 2) == 2
    earlier(runs)
    said = call(*probe, "--seeds", 2)
    assert "2 of 2 runs are done already" in said
    assert len(read_runs(runs)) == 2
    edit(store, "open/35,close")
    assert trained(probe, "--seeds", 2) == 2
    assert len(read_runs(runs)) == 4


def test_an_earlier_run_says_what_it_cannot_tell(
    store: Store, probe: Words, tmp_path: Path
) -> None:
    call(*probe)
    earlier(tmp_path / "runs")
    edit(store, "open/0,close")  # of a training clip: the run does not say what it was
    done = invoke(*probe)
    assert "1 of 1 run is done already" in done.stdout
    assert "did not record the labels of the training clips" in done.stderr


def test_a_selection_is_made_again(store: Store, tmp_path: Path) -> None:
    words = (
        *("sweep", "--method", "linear", "--lr", "1e-3,1e-2", "--seeds", 1, "--epochs", 1),
        *("--select", "--slice-min", "clips=2,groups=2"),
        *("--store", store.path, "--runs", tmp_path / "runs"),
    )
    runs = tmp_path / "runs"
    call(*words)
    count = len(read_runs(runs, slices=True))
    call(*words)
    assert len(read_runs(runs, slices=True)) == count > 2
    edit(store, "open/0,close", "open/3,close")
    call(*words)
    assert len(read_runs(runs, slices=True)) == 2 * count


def test_a_twin_is_of_the_same_table(store: Store, probe: Words, tmp_path: Path) -> None:
    call(*probe)
    edit(store, "open/0,close")
    said = call("calibrate", tmp_path / "runs", "--slice-min", "clips=2,groups=2", code=2)
    assert "labels" in said


def test_classes_without_a_clip_are_told(store: Store, probe: Words, tmp_path: Path) -> None:
    """Renamed by its clips' labels, a class stays in the table, and an output of every probe."""
    edit(store, *(f"open/{n},ajar" for n in range(36)))
    done = invoke(*probe)
    assert "1 of the store's 2 classes has no clip ('open') and is an output" in done.stderr
    (record,) = read_runs(tmp_path / "runs")
    assert record.classes == ["close", "open", "ajar"]
    assert any("has no clip" in warning for warning in record.warnings)
    copy = tmp_path / "copy.csv"
    lines = (folder(store) / "classes.csv").read_text().splitlines()
    copy.write_text("\n".join(line.replace("open", "ajar") for line in lines) + "\n")
    call("store", "labels", "--classes", copy, "--store", store.path)
    assert "has no clip" not in invoke(*probe).stderr
    assert read_runs(tmp_path / "runs")[1].classes == ["close", "ajar"]


@pytest.mark.parametrize("task", ["classify", "arrow", "twins"])
@pytest.mark.parametrize("clip", ["open/0", "open/35"])
def test_clips_without_a_label_are_no_class(
    store: Store, probe: Words, task: str, clip: str
) -> None:
    edit(store, f"{clip},")
    said = call(*probe, "--task", task, code=2)
    assert "one label per clip, found 1 clip of train and test without a label" in said
    assert repr(clip) in said
    # In neither split it is no matter.
    edit(store, f"{clip},val", column="split")
    assert trained(probe) == 1
