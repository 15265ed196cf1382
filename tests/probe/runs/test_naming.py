"""Names of runs: readable, unambiguous, and those of earlier versions are found."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import call, invoke

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, RunConfig, TaskConfig
from stepcli.probe.config.run import NAME_DIGITS
from stepcli.probe.methods.registry import methods
from stepcli.probe.methods.step import StepOptions
from stepcli.probe.runs.find import find_run, require_run
from stepcli.probe.runs.naming import RunNames
from stepcli.probe.runs.record import read_run, read_runs
from stepcli.probe.sweeps.expand import run_configs
from stepcli.runtime.errors import UsageError


def config(task: TaskConfig | None = None, seed: int = 0) -> RunConfig:
    data = DataConfig(epochs=1)
    (found,) = run_configs("linear", [{}], {}, task or TaskConfig(), data, [seed])
    return found


def names(runs: Path) -> RunNames:
    return RunNames(runs, lambda _: "tokens")


def test_a_name_says_method_task_and_seed(tmp_path: Path) -> None:
    each = {
        "linear-classify-s3-": config(seed=3),
        "linear-arrow-s0-": config(TaskConfig(name="arrow")),
        "linear-classify-s0-slice-": config(TaskConfig(slice_seed=0)),
        "linear-classify-s0-fold1-": config(TaskConfig(slice_seed=0, folds=2, fold=1)),
    }
    for start, one in each.items():
        name = names(tmp_path).name(one)
        assert re.fullmatch(re.escape(start) + "[0-9a-f]{6}", name)
        assert one.run_id("tokens").rpartition("-")[2].startswith(name[-NAME_DIGITS:])


def test_two_runs_never_share_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunConfig, "run_name", _without_digits)
    first, second = config(), config(TaskConfig(observed=0.5))
    found = names(tmp_path)
    assert found.name(first) == "same"
    assert found.name(second) == second.run_id("tokens")
    assert found.name(first) == "same"


def _without_digits(self: RunConfig, run_id: str, digits: int = NAME_DIGITS) -> str:
    return "same" if digits == NAME_DIGITS else run_id


@pytest.fixture
def trained(store_of: Callable[..., Store], tmp_path: Path) -> tuple[object, ...]:
    """Words of a command that has been run."""
    store = store_of(tmp_path / "s")
    words = ("probe", "--method", "linear", "--epochs", 1, "--store", store.path)
    call(*words, "--runs", tmp_path / "runs")
    return (*words, "--runs", tmp_path / "runs")


def test_a_name_on_the_disk_is_not_taken_for_another_run(
    trained: tuple[object, ...], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    (record,) = read_runs(runs)
    beside = f"{record.fingerprint} tables {record.tables}"
    assert record.identity == record.settings.run_id(beside)
    path = runs / record.run / "run.json"
    other = json.loads(path.read_text()) | {"identity": "linear-ffffffffffffffff"}
    path.write_text(json.dumps(other))
    call(*trained)
    assert sorted(run.run for run in read_runs(runs)) == [
        record.run,
        record.settings.run_name(record.identity, 16),
    ]
    assert "1 of 1 run is done already" in call(*trained)


def test_runs_of_earlier_versions_keep_their_names(
    trained: tuple[object, ...], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    (record,) = read_runs(runs)
    earlier = record.settings.run_id(record.fingerprint)
    (runs / record.run).rename(runs / earlier)
    old = json.loads((runs / earlier / "run.json").read_text()) | {"run": earlier}
    del old["identity"], old["tables"]
    (runs / earlier / "run.json").write_text(json.dumps(old))
    assert "1 of 1 run is done already" in call(*trained)
    assert [run.run for run in read_runs(runs)] == [earlier]


def test_a_changed_default_is_another_run(
    store_of: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs record all settings in full, so those trained with an earlier default keep their name
    and are neither listed as runs of the new one nor trained again under it."""
    store, runs = store_of(tmp_path / "s"), tmp_path / "runs"
    words = ("probe", "--method", "step", "--epochs", 1, "--store", store.path, "--runs", runs)
    call(*words)
    (earlier,) = read_runs(runs)
    usual = methods().get("step")

    class Changed(StepOptions):
        pe_scale: float = 0.5

    registered = methods()._infos
    for now in (replace(usual, lr=3 * usual.lr), replace(usual, options=Changed)):
        monkeypatch.setitem(registered, "step", now)
        call(*words)
        assert "1 of 1 run is done already" in call(*words)
        (read,) = [record for record in read_runs(runs) if record.run == earlier.run]
        assert read.settings.recipe.lr == usual.lr
        assert read.settings.options["pe_scale"] == usual.defaults()["pe_scale"]
    monkeypatch.setitem(registered, "step", usual)
    assert "1 of 1 run is done already" in call(*words)
    assert len({record.run for record in read_runs(runs)}) == 3
    rows = call("results", "--runs", runs)
    for shown in ("lr=0.0005", "lr=0.0015", "pe_scale=0.5"):
        assert shown in rows


def test_runs_are_found_by_folder_name_and_beginning(
    trained: tuple[object, ...], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    (record,) = read_runs(runs)
    folder = runs / record.run
    for word in (str(folder), record.run, "linear-classify", "lin"):
        assert find_run(word, runs) == folder
    assert find_run("step", runs) is None
    assert find_run("", runs) is None
    with pytest.raises(UsageError, match="list them with stepcli runs"):
        require_run("step", runs)
    call(*trained, "--seeds", 2)
    with pytest.raises(UsageError, match="several runs begin with 'linear'"):
        find_run("linear", runs)


def test_a_beginning_means_the_run_and_not_its_twin_on_a_slice(
    trained: tuple[object, ...], tmp_path: Path
) -> None:
    """`calibrate` leaves a twin beside each run, whose name begins alike."""
    runs = tmp_path / "runs"
    (record,) = read_runs(runs)
    words = ("calibrate", runs, "--slice-min", "clips=1,groups=1,classes=1", "--slice-share", 0.5)
    invoke(*words)
    (twin,) = [run.run for run in read_runs(runs, slices=True) if run.on_slice]
    assert twin.startswith("linear-classify-s0-slice-")
    for word in ("linear", "linear-classify-s0", "linear-classify-s0-"):
        assert find_run(word, runs) == runs / record.run
    assert find_run("linear-classify-s0-slice", runs) == runs / twin
    assert find_run(twin, runs) == runs / twin
    done = invoke("export", *sorted(runs.glob("linear-*")), "--out", tmp_path / "exported")
    assert done.exit_code == 0, done.output
    assert "left out 1 run on held-out slices" in done.stderr
    assert [path.name for path in (tmp_path / "exported").iterdir()] == [record.run]
    call("export", runs / twin, "--out", tmp_path / "twin")
    assert [path.name for path in (tmp_path / "twin").iterdir()] == [twin]


def test_a_store_with_blanks_in_its_name_is_a_filter(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    stores = [store_of(tmp_path / name).path for name in ("my store", "my other store")]
    words = ("probe", "--method", "linear", "--epochs", 1, "--runs", tmp_path / "runs")
    call(*words, "--store", stores[0])
    call(*words, "--store", stores[1], "--clip-frames", 4)
    listed = ("runs", "--runs", tmp_path / "runs", "--format", "json", "--store")
    for wanted, count in (("my store", 1), ("my store,my other store", 2), (stores[1], 1)):
        assert len(json.loads(call(*listed, wanted))) == count


def test_a_run_is_exported_by_its_name(
    trained: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPCLI_RUNS", str(tmp_path / "runs"))
    (record,) = read_runs(tmp_path / "runs")
    call("export", "linear", record.run, "--out", tmp_path / "exported")
    assert [path.name for path in (tmp_path / "exported").iterdir()] == [record.run]
    said = call("export", "step", "--out", tmp_path / "none", code=2)
    assert "list them with stepcli runs" in said


def test_runs_are_listed_shown_and_filtered(trained: tuple[object, ...], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    call(*trained, "--seeds", 2, "--task", "arrow")
    listed = json.loads(call("runs", "--runs", runs, "--format", "json"))
    assert [(row["task"], row["seed"]) for row in listed] == [
        ("arrow", 0),
        ("arrow", 1),
        ("classify", 0),
    ]
    assert {row["store"] for row in listed} == {"s"}
    table = call("runs", "--runs", runs, "--task", "arrow", "--seed", "1").splitlines()
    assert len(table) == 2
    assert table[1].startswith(listed[1]["run"])
    shown = call("runs", "show", listed[1]["run"], "--runs", runs)
    assert "arrow" in shown
    assert "lr=" in shown
    whole = json.loads(call("runs", "show", listed[1]["run"], "--runs", runs, "--json"))
    assert whole["run"] == listed[1]["run"]
    for words, known in (
        (("--task", "arow"), "arrow, classify"),
        (("--store", "t"), "they have s"),
        (("--seed", "7"), "they have 0, 1"),
        (("--set", "lr=7"), "they have lr="),
    ):
        said = call("runs", "--runs", runs, *words, code=2)
        assert known in said
    assert (
        len(call("results", "--runs", runs, "--task", "classify", "--store", "s").splitlines()) == 2
    )


def test_only_runs_are_deleted_and_only_when_asked(
    trained: tuple[object, ...], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    call(*trained, "--seeds", 2)
    name = read_runs(runs)[0].run
    assert "nothing was deleted" in call("runs", "rm", name, "--runs", runs, "--dry-run")
    assert "confirm with --yes" in call("runs", "rm", name, "--runs", runs, code=2)
    assert len(read_runs(runs)) == 2
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").write_text("dear to me")
    for word in (mine, runs, tmp_path / "s", "nothing"):
        call("runs", "rm", word, "--runs", runs, "--yes", code=2)
    link = tmp_path / "link" / name
    link.parent.mkdir()
    link.symlink_to(runs / name)
    assert "is a link" in call("runs", "rm", link, "--yes", code=2)
    assert "give the names of runs, or filters" in call("runs", "rm", "--yes", code=2)
    assert (mine / "photo.jpg").exists()
    assert "Deleted 1 run" in call("runs", "rm", name, "--runs", runs, "--yes")
    assert name not in [run.run for run in read_runs(runs)]
    assert [path.name for path in runs.iterdir() if path.name.startswith(".writing")] == []
    assert "Deleted 1 run" in call("runs", "rm", "--method", "linear", "--runs", runs, "--yes")
    assert invoke("runs", "--runs", runs).exit_code == 2
    shutil.rmtree(runs)


def test_a_damaged_run_is_not_deleted(trained: tuple[object, ...], tmp_path: Path) -> None:
    (record,) = read_runs(tmp_path / "runs")
    path = tmp_path / "runs" / record.run / "run.json"
    path.write_text("{")
    assert "is not a run's JSON" in call("runs", "rm", path.parent, "--yes", code=2)
    assert path.exists()
    with pytest.raises(UsageError):
        read_run(path)
