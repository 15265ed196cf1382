"""What points are chosen by: a slice that is large enough, else folds over groups, else nothing."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import invoke
from hypothesis import given, settings
from hypothesis import strategies as st

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, RunConfig, SliceMinimum, TaskConfig
from stepcli.probe.data.slices import KEPT, fold_of_groups, hold_out_fold, most_folds
from stepcli.probe.data.splits import LabelledClips
from stepcli.probe.runs.configurations import configurations
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.holding import Size, hold_out, missing
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.errors import UsageError

SEARCH = ("sweep", "--method", "linear", "--lr", "1e-3,1e-2", "--seeds", 2, "--epochs", 2)
SMALL = ("--slice-min", "clips=8,groups=4")
"""All 8 training clips of the store in their 4 groups; a slice of it is 2 clips in 1 group."""


def table_of(rows: list[tuple[str, str]]) -> LabelledClips:
    """Training clips, each with its label and group."""
    clips = tuple(
        ClipRow(f"{number}", label, "train", group=group)
        for number, (label, group) in enumerate(rows)
    )
    return LabelledClips(
        clips, (), tuple(sorted({label for label, _ in rows})), (), frozenset(), ()
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9).map(str)), min_size=1),
    st.integers(2, 6),
    st.integers(0, 3),
)
def test_folds_keep_groups_whole_and_every_class_in_training(
    rows: list[tuple[str, str]], folds: int, seed: int
) -> None:
    table = table_of(rows)
    dealt = fold_of_groups(table, folds, seed)
    assert dealt.keys() == {group for _, group in rows}
    assert dealt == fold_of_groups(table, folds, seed)
    held = Counter[str]()
    for fold in {fold for fold in dealt.values() if fold != KEPT}:
        part = hold_out_fold(table, folds, fold, seed)
        assert {row.group for row in part.train}.isdisjoint(row.group for row in part.test)
        assert {row.label for row in part.train} == {row.label for row in table.train}
        assert sorted((*part.train, *part.test), key=table.train.index) == list(table.train)
        held.update(row.id for row in part.test)
    assert set(held.values()) <= {1}
    assert held.keys() == {row.id for row in table.train if dealt[table.group(row)] != KEPT}
    if most := most_folds(table, folds, seed):
        found = set(fold_of_groups(table, most, seed).values()) - {KEPT}
        assert found == set(range(most))


def test_folds_are_about_equal_in_clips_and_classes() -> None:
    table = table_of([(label, f"{label}{n // 2}") for label in "abc" for n in range(20)])
    assert most_folds(table, 5, 0) == 5
    for fold in range(5):
        held = Counter(row.label for row in hold_out_fold(table, 5, fold, 0).test)
        assert held == {"a": 4, "b": 4, "c": 4}


def test_a_class_of_one_group_is_never_held_out() -> None:
    table = table_of([("rare", "r"), *(("a", f"g{n}") for n in range(6))])
    assert fold_of_groups(table, 3, 0)["r"] == KEPT
    alone = table_of([("a", "one"), ("b", "two")])
    assert most_folds(alone, 5, 0) == 0
    with pytest.raises(UsageError, match="fold 1 of 2 has no clip"):
        hold_out_fold(alone, 2, 1, 0)


def test_a_config_without_folds_is_written_and_named_as_before_there_were_any() -> None:
    config = RunConfig(method="a", options={})
    assert "folds" not in config.task.model_dump()
    assert config.run_id("x") == "a-b6feff423e33e603"
    on_fold = TaskConfig(slice_seed=0, folds=5, fold=2)
    assert TaskConfig.model_validate(on_fold.model_dump(mode="json")) == on_fold
    assert on_fold.reported_split == "train-fold"


@pytest.mark.parametrize(
    "wrong", [{"folds": 5}, {"fold": 1}, {"folds": 3, "fold": 1}, {"folds": 3, "fold": 3}]
)
def test_folds_that_cannot_be(wrong: dict[str, int]) -> None:
    given = wrong | ({"slice_seed": 0} if wrong.get("fold") == 3 else {})
    with pytest.raises(UsageError, match=r"belong together|numbered from 0"):
        TaskConfig(**given)


def test_what_is_missing_is_counted() -> None:
    assert missing(Size(12, 1, 3), Size(30, 2, 5)) == "18 clips, 1 class, 2 groups"
    assert missing(Size(30, 2, 5), Size(30, 2, 5)) == ""
    assert str(Size(1, 2, 1)) == "1 clip of 2 classes in 1 group"


def test_a_slice_that_is_large_enough_is_used(store: Store, tmp_path: Path) -> None:
    session = Session(store.path, tmp_path, "cpu")
    configs = run_configs("linear", [{}], {}, TaskConfig(), DataConfig(epochs=1), range(3))
    least = SliceMinimum(clips=2, groups=1)
    held = hold_out(session, configs, least, 5)
    assert (held.folds, held.size) == (None, Size(2, 2, 1))
    assert [run.task.slice_seed for c in configs for run in held.configs(c)] == [0, 1, 2]


def test_a_small_slice_gives_way_to_folds_that_hold_every_group_out(
    store: Store, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    place = ("--store", store.path, "--runs", runs, "--select", *SMALL)
    plan = invoke(*SEARCH, *place, "--dry-run")
    assert plan.exit_code == 0, plan.output
    assert "16 runs, 0 done already, 16 to train in 1 pass" in plan.stdout
    done = invoke(*SEARCH, *place)
    assert done.exit_code == 0, done.output
    said = (
        "chosen by 4-fold cross-validation over groups of train, 8 clips of 2 classes in 4 groups "
        "held out in turn, because a slice of 10% is only 2 clips of 2 classes in 1 group "
        "(minimum 8 clips of 1 class in 4 groups)"
    )
    for output in (plan.stdout, done.stdout):
        assert said in output
    records = [json.loads(path.read_text()) for path in runs.glob("*/run.json")]
    assert Counter(record["split"] for record in records) == {"train-fold": 16, "test": 2}
    (selection,) = runs.glob("selection-*.json")
    chosen = json.loads(selection.read_text())["methods"]["linear"]
    assert chosen["held_out"] == {
        "folds": 4,
        "clips": 8,
        "classes": 2,
        "groups": 4,
        "said": said.removeprefix("chosen "),
    }
    # The best of the pooled scores: all held-out samples of a point count alike.
    for seed, settings_ in enumerate(chosen["settings"]):
        score = {}
        for rate in (1e-3, 1e-2):
            mine = [
                record
                for record in records
                if record["split"] == "train-fold"
                and record["seed"] == seed
                and record["config"]["recipe"]["lr"] == rate
            ]
            assert sorted(record["config"]["task"]["fold"] for record in mine) == [0, 1, 2, 3]
            right = sum(record["top1"] * record["test_samples"] for record in mine)
            score[rate] = right / sum(record["test_samples"] for record in mine)
        assert score[float(settings_["lr"])] == max(score.values())
    table = invoke("results", "--chosen", "--runs", runs).stdout
    assert said in table
    assert said in invoke("results", "--chosen", "--runs", runs, "--format", "markdown").stdout
    latex = invoke("results", "--chosen", "--runs", runs, "--format", "latex").stdout
    assert f"% {said}" in latex
    # Two groups of test clips bear no interval; whose values they are is reported.
    assert "linear: fewer than 20 groups, no interval; top-1 by group: g2 " in table
    # Folds are no slices to fit a temperature on.
    assert all(found.held_out == (None, None) for found in configurations(runs))
    again = invoke(*SEARCH, *place)
    assert "16 of 16 runs are done already" in again.stdout


def test_too_little_to_choose_by_is_refused_and_what_is_missing_said(
    store: Store, tmp_path: Path
) -> None:
    place = ("--store", store.path, "--runs", tmp_path / "runs")
    for search in (("--select",), ("--search", "optuna", "--trials", 2)):
        done = invoke(*SEARCH, *place, *search)
        assert done.exit_code == 2, done.output
        assert done.stderr.count("\n") == 1
        assert "a slice of 10% of train is 2 clips of 2 classes in 1 group" in done.stderr
        assert "needed are 30 clips of 1 class in 5 groups" in done.stderr
        assert "(missing: 22 clips, 1 group)" in done.stderr
        assert "--slice-min" in done.stderr
        assert not list((tmp_path / "runs").glob("linear-*"))


def test_of_several_variants_the_one_that_is_too_small_is_named(
    store: Store, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        "methods: {linear: {lr: [1e-3, 1e-2]}}\nselect: true\nseeds: 1\nshared: {epochs: 1}\n"
        "slice_min: {clips: 8, groups: 4}\nvariants: [{}, {train_share: 0.3}]\n"
    )
    done = invoke("sweep", sweep, "--store", store.path, "--runs", tmp_path / "runs")
    assert done.exit_code == 2
    assert "error: linear train_share=0.3: too little to choose by" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_classes_of_one_group_each_are_refused(store: Store, tmp_path: Path) -> None:
    rows = store.clips()
    store.replace_clips([replace(row, group=row.label) for row in rows])
    place = ("--store", store.path, "--runs", tmp_path / "runs")
    done = invoke(*SEARCH, *place, "--select", *SMALL)
    assert done.exit_code == 2
    assert "its classes have one group each" in done.stderr


def test_an_adaptive_search_scores_by_folds_too(store: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    words = ("sweep", "--method", "linear", "--lr", "1e-3..1e-2", "--seeds", 1, "--epochs", 1)
    place = ("--store", store.path, "--runs", runs, *SMALL, "--folds", 2)
    done = invoke(*words, "--search", "optuna", "--trials", 3, *place)
    assert done.exit_code == 0, done.output
    splits = Counter(json.loads(path.read_text())["split"] for path in runs.glob("*/run.json"))
    assert splits == {"train-fold": 6, "test": 1}
    assert "chosen by 2-fold cross-validation" in done.stdout


def test_points_that_tie_are_said(store: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    words = ("sweep", "--method", "linear", "--lr", "1e-7,2e-7", "--seeds", 1, "--epochs", 1)
    place = ("--store", store.path, "--runs", runs, "--select", *SMALL)
    done = invoke(*words, *place)
    assert done.exit_code == 0, done.output
    said = "linear: several points are equally good on what was held out for 1 of 1 seeds"
    assert said in done.stderr
    assert said in invoke("results", "--chosen", "--runs", runs).stdout


def test_a_selection_of_an_earlier_version_says_what_it_cannot_tell(
    store: Store, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    done = invoke(*SEARCH, "--store", store.path, "--runs", runs, "--select", *SMALL)
    assert done.exit_code == 0, done.output
    (selection,) = runs.glob("selection-*.json")
    content = json.loads(selection.read_text())
    del content["methods"]["linear"]["held_out"]
    selection.write_text(json.dumps(content))
    shown = invoke("results", "--chosen", "--runs", runs)
    assert shown.exit_code == 0, shown.output
    assert "did not record how much was held out" in shown.stdout


@pytest.mark.parametrize("wrong", ["30", "clips=0", "clips=x", "clip=3", "clips=3,", ","])
def test_a_minimum_that_is_none_is_refused(wrong: str, store: Store, tmp_path: Path) -> None:
    done = invoke(*SEARCH, "--select", "--slice-min", wrong, "--store", store.path)
    assert done.exit_code == 2
    assert re.search("--slice-min .*expected clips=N, groups=N or classes=N", done.stderr)
