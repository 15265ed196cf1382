"""Leave one group out: each group is tested by a probe that has not seen it; means over groups."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest
from command_line import call

from stepcli.cache.store.store import Store, open_store
from stepcli.probe.analysis.summary import analyse
from stepcli.probe.config import DataConfig, TaskConfig
from stepcli.probe.data.each_group import groups_of
from stepcli.probe.report.commands import commands
from stepcli.probe.report.protocol import protocol
from stepcli.probe.report.report_data import difference, gather
from stepcli.probe.report.tables import values_by_group
from stepcli.probe.runs.compare import correctness
from stepcli.probe.runs.configurations import by_seed, configurations
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.record import read_runs
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.errors import UnknownName, UsageError

LOGO = ("--protocol", "leave-one-group-out", "--epochs", 2)
PEOPLE = {0: "s1", 1: "s1", 2: "s2", 3: "s2", 4: "s10", 5: "s2"}
"""Number of a clip -> its person; unequal sizes, and the split cuts through s2."""


def regrouped(store: Store, groups: dict[int, str], **changes: str) -> Store:
    store.replace_clips(
        [
            replace(row, group=groups[int(row.id.rpartition("/")[2])], **changes)
            for row in store.clips()
        ]
    )
    return open_store(store.path)


@pytest.fixture
def people(store: Store) -> Store:
    """12 clips of 2 classes by 3 people: 4, 6 and 2 clips."""
    return regrouped(store, PEOPLE)


def test_each_group_is_tested_once_by_a_probe_that_has_not_seen_it(
    people: Store, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    call(
        "sweep",
        "--method",
        "linear,step",
        "--seeds",
        2,
        *LOGO,
        "--store",
        people.path,
        "--runs",
        runs,
    )
    records = read_runs(runs)
    assert Counter((r.method, r.held_group) for r in records) == {
        (method, group): 2 for method in ("linear", "step") for group in ("s1", "s2", "s10")
    }
    group_of = {row.id: row.group for row in people.clips()}
    session = Session(people.path, runs, "cpu")
    for record in records:
        assert record.split == "leave-one-group-out"
        assert record.leakage is not None
        assert record.leakage.shared_groups == record.leakage.copied_clips == 0
        said = read_predictions(runs / record.run)
        mine = {clip for clip, group in group_of.items() if group == record.held_group}
        assert set(said.clips) == mine
        assert set(said.groups) == {record.held_group}
        task = session.task(record.settings.task)
        trained = set(task.clips[: task.train_clips])
        assert trained == group_of.keys() - mine
        assert record.train_clips == 12 - len(mine)
    # The same command finds all runs done, `probe` too.
    again = call(
        "probe", "--method", "linear", "--seeds", 2, *LOGO, "--store", people.path, "--runs", runs
    )
    assert "6 of 6 runs are done already" in again


def test_tables_are_means_over_groups_whatever_their_sizes(people: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    words = ("--seeds", 2, "--task", "arrow", "--store", people.path, "--runs", runs)
    call("sweep", "--method", "step,first-frame", *words, *LOGO)
    records = [r for r in read_runs(runs) if r.method == "step"]
    by_group = {
        group: fmean(r.top1 for r in records if r.held_group == group)
        for group in ("s1", "s2", "s10")
    }
    mean, spread = fmean(by_group.values()), stdev(by_group.values())
    lines = call("results", "--runs", runs).splitlines()
    header, groups = lines[0], lines[4]
    step, values = (line for line in lines if line.startswith("step"))
    assert header.split()[:4] == ["method", "task", "split", "seeds"]
    assert step.split()[:6] == ["step", "arrow", "3", "groups", "2", f"{100 * mean:.1f}"]
    assert f"{100 * mean:.1f} ± {100 * spread:.1f}" in step
    assert lines[3] == ""
    assert groups.split() == ["top1", "by", "group", "task", "s1", "s2", "s10"]
    assert values.split() == ["step", "arrow", *(f"{100 * v:.1f}" for v in by_group.values())]
    assert "| top1 by group |" in call("results", "--runs", runs, "--format", "markdown")
    assert len(json.loads(call("results", "--runs", runs, "--format", "json"))) == 12

    first, other = configurations(runs, ["step"]) + configurations(runs, ["first-frame"])
    found = analyse(first)
    assert (found.seeds, found.samples) == (2, 24)
    assert found.top1.mean == pytest.approx(mean)
    assert found.top1.low is None  # three groups
    assert found.top1.by_group == pytest.approx(by_group)
    (study,) = gather(runs)
    entries = {entry.found.first.method: entry for entry in study.entries}
    gain = difference(entries["step"], entries["first-frame"])
    assert gain is not None
    assert gain.mean == pytest.approx(mean - analyse(other).top1.mean)
    compared = call("results", "--runs", runs, "--compare", "first-frame,step")
    assert f"step - first-frame: {100 * gain.mean:+.1f} points" in compared
    assert "fewer than 20 groups, no interval; by group: s1 " in compared


def test_many_groups_have_an_interval_over_groups(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "store", clips_each=21)
    runs = tmp_path / "runs"
    call("sweep", "--method", "linear", "--seeds", 1, *LOGO, "--store", store.path, "--runs", runs)
    (found,) = configurations(runs)
    top1 = analyse(found).top1
    assert top1.groups == 21
    assert top1.low is not None
    assert top1.low < top1.mean


def test_a_report_says_what_was_left_out(people: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    words = ("--store", people.path, "--runs", runs)
    call("sweep", "--method", "linear", "--seeds", 2, *LOGO, *words)
    (study,) = gather(runs)
    told = protocol(study)
    assert "Each group is tested by a probe of its own, trained on all other groups" in told
    assert "means over 2 seeds on split 'leave-one-group-out' (12 samples in 3 groups" in told
    (command,) = commands(study)
    assert "--seeds 2 --protocol leave-one-group-out" in command
    assert "held" not in command
    table = values_by_group(study)
    assert table is not None
    assert {"s1", "s2", "s10"} <= {*table.header, *(cell for row in table.rows for cell in row)}


def test_predictions_of_all_groups_make_one_table(people: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    call("sweep", "--method", "linear", "--seeds", 2, *LOGO, "--store", people.path, "--runs", runs)
    (found,) = configurations(runs)
    assert [len(each) for each in by_seed(found.records)] == [3, 3]
    for seed, said in enumerate(found.predictions()):
        assert sorted(said.clips) == sorted(people.ids)
        assert len(said.logits) == len(said.labels) == 12
        own = [r for r in found.records if r.seed == seed]
        right = sum(r.top1 * r.test_samples for r in own)
        assert float(said.correct.sum()) == pytest.approx(right)
    of_groups = correctness(runs, found.records)
    assert of_groups.right.shape == (2, 3)
    # A group that is missing for one seed is reported, not averaged away.
    (runs / found.records[0].run / "run.json").unlink()
    (short,) = configurations(runs)
    with pytest.raises(UsageError, match="tested on other samples"):
        short.predictions()


def test_settings_are_chosen_for_each_group_on_its_own_train(people: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    minimum = ("--select", "--slice-min", "clips=2,groups=1")
    words = ("--store", people.path, "--runs", runs, "--seeds", 1)
    call("sweep", "--method", "linear", "--lr", "1e-4,1e-1", *minimum, *words, *LOGO)
    (selection,) = runs.glob("selection-*.json")
    chosen = json.loads(selection.read_text())["methods"]
    assert list(chosen) == [f"linear held_group={group}" for group in ("s1", "s2", "s10")]
    assert {r.held_group for r in read_runs(runs)} == {"s1", "s2", "s10"}
    sliced = [record for record in read_runs(runs, slices=True) if record.on_slice]
    assert len(sliced) >= 6
    for record in sliced:
        assert record.held_group not in read_predictions(runs / record.run).groups
    optuna = ("--search", "optuna", "--lr", "1e-4..1e-1", "--seeds", 1)
    refused = call(
        "sweep",
        "--method",
        "linear",
        *optuna,
        *LOGO,
        "--store",
        people.path,
        "--runs",
        runs,
        code=2,
    )
    assert "choose settings for each group with --search random --select" in refused


def test_clips_without_a_group_among_others_are_counted(
    people: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = regrouped(people, PEOPLE | {5: ""})
    session = Session(blank.path, tmp_path, "cpu")
    task = TaskConfig(protocol="leave-one-group-out")
    configs = run_configs("linear", [{}], {}, task, DataConfig(epochs=1), range(1))
    parts = session.for_each_part(configs)
    assert len(parts) == len({config.task.held_group for config in parts}) == 5
    assert "warning: 2 clips of 12 have no group" in capsys.readouterr().err
    named = regrouped(blank, PEOPLE)
    Session(named.path, tmp_path, "cpu").for_each_part(configs)
    assert "no group" not in capsys.readouterr().err


def test_groups_are_united_over_copies_and_splits_do_not_matter(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    task = TaskConfig(protocol="leave-one-group-out")
    alike = store_of(tmp_path / "a", like={"open/1": "open/0"})
    session = Session(alike.path, tmp_path, "cpu")
    assert groups_of(session.tables.every_clip(task)) == ["g0", "g2", "g3", "g4", "g5"]
    unsplit = regrouped(store_of(tmp_path / "b"), PEOPLE, split="")
    session = Session(unsplit.path, tmp_path, "cpu")
    table = session.tables.every_clip(task)
    assert groups_of(table) == ["s1", "s2", "s10"]
    assert len(table.train) == 12
    assert table.warnings == ()
    with pytest.raises(UsageError, match=r"no clip of .* has a split; draw one with"):
        session.task(TaskConfig())
    with pytest.raises(UnknownName, match="s3"):
        session.task(task.model_copy(update={"held_group": "s3"}))


def test_clips_of_another_split_are_left_alone(store: Store, tmp_path: Path) -> None:
    rows = regrouped(store, PEOPLE).clips()
    store.replace_clips(
        [replace(row, split="pilot") if row.id == "open/0" else row for row in rows]
    )
    session = Session(store.path, tmp_path, "cpu")
    table = session.tables.every_clip(TaskConfig(protocol="leave-one-group-out"))
    assert len(table.train) == 11
    assert [line for line in table.warnings if "'pilot'" in line]


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        (dict.fromkeys(range(6), ""), "no clip has a group"),
        (dict.fromkeys(range(6), "one"), "the clips are of 1 groups"),
    ],
)
def test_what_has_no_groups_is_refused(
    groups: dict[int, str], reason: str, store: Store, tmp_path: Path
) -> None:
    regrouped(store, groups)
    words = ("--method", "linear", *LOGO, "--store", store.path, "--runs", tmp_path / "runs")
    assert reason in call("sweep", *words, code=2)
    assert reason in call("probe", *words, code=2)


def test_a_held_group_belongs_to_its_protocol() -> None:
    with pytest.raises(UsageError, match="belongs to the protocol"):
        TaskConfig(held_group="s1")
    assert "held_group" not in TaskConfig().model_dump()
    held = TaskConfig(protocol="leave-one-group-out", held_group="s1")
    assert TaskConfig.model_validate(held.model_dump(mode="json")) == held
    assert held.reported_split == "leave-one-group-out"
