"""Recordings labelled frame by frame: trained on windows, scored by the field's measures, whole."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import call, invoke
from recording_store import window_store

from stepcli.cache import open_store
from stepcli.cache.maintenance.segments import label_windows
from stepcli.cache.schema.clips import SegmentRow
from stepcli.cache.schema.segments import BACKGROUND
from stepcli.cache.schema.windows import split_window
from stepcli.cache.store.store import Store
from stepcli.probe.analysis.dense import TruthTable, label_recordings, score
from stepcli.probe.analysis.frame_scores import Smoothing
from stepcli.probe.runs.predictions import Predictions

CLASSES = ("open", "close", BACKGROUND)
RATE = 2


def recording(seed: int) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """Tokens [N, 1, 4] whose channels say what happens, and the segments."""
    random = np.random.default_rng(seed)
    labels: list[int] = []
    for label in (2, 0, 2, 1, 2, 0, 1, 2):
        labels += [label] * int(random.integers(5, 9))
    tokens = np.eye(4)[labels] + random.normal(0, 0.05, (len(labels), 4))
    edges = np.flatnonzero(np.diff([-1, *labels, -1]))
    segments = [
        (float(a / RATE), float(b / RATE), CLASSES[labels[a]])
        for a, b in pairwise(edges)
        if labels[a] != 2
    ]
    return tokens[:, None].astype(np.float32), segments


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Six recordings to train on and three to test, in windows of 5 steps, one every 2."""
    return filled(tmp_path / "store", 9)


def filled(path: Path, count: int) -> Store:
    """That many recordings, all but the first six to test."""
    made = {f"r{seed}": recording(seed) for seed in range(count)}
    splits = {name: "train" if seed < 6 else "test" for seed, name in enumerate(made)}
    tokens = {name: each[0] for name, each in made.items()}
    store = window_store(path, tokens, "5@2fps/2", splits=splits)
    store.change_segments(
        lambda _: [SegmentRow(name, *one) for name, each in made.items() for one in each[1]]
    )
    label_windows(store, made)
    return store


def train(store: Store, runs: Path, *words: str) -> None:
    call("probe", "--task", "dense", "--store", store.path, "--runs", runs, *words)


def test_a_probe_labels_every_frame_of_recordings_it_has_not_seen(
    store: Store, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    train(store, runs, "--method", "middle-frame", "--epochs", "30", "--seeds", "2")
    (row,) = json.loads(call("dense", runs, "--device", "cpu", "--json"))
    assert row["recordings"] == 3
    for seed in row["seeds"]:
        assert seed["frame_accuracy"] > 0.9
        assert seed["edit"] == 1
        assert seed["f1"]["50"] == 1
        assert seed["map"]["0.5"] > 0.7
        assert sorted(seed["recordings"]) == ["r6", "r7", "r8"]
        assert sum(each["steps"] for each in seed["recordings"].values()) == sum(
            len(recording(number)[0]) for number in (6, 7, 8)
        )
        assert "6 recordings of train" in seed["chosen_on"]
        assert set(seed["f1_50_by_class"]) == {"open", "close"}
    # Kept beside the run; twins are not counted as runs.
    assert len(list(runs.glob("*/dense.json"))) == 2
    text = call("dense", runs, "--device", "cpu")
    assert "F1@50" in text
    assert "no interval" in text
    assert "seed 0: windows within" in text
    assert len(call("results", "--runs", runs, "--format", "csv").strip().splitlines()) == 3


def test_a_run_whose_store_is_gone_costs_its_own_row(store: Store, tmp_path: Path) -> None:
    runs, other = tmp_path / "runs", filled(tmp_path / "other", 10).path
    train(store, runs, "--method", "linear", "--epochs", "1")
    train(open_store(other), runs, "--method", "middle-frame", "--epochs", "1")
    said = invoke("dense", runs, "--device", "cpu", "--json")
    assert said.exit_code == 0
    assert [row["label"] for row in json.loads(said.stdout)] == ["linear", "middle-frame"]
    shutil.rmtree(other)
    said = invoke("dense", runs, "--device", "cpu", "--json")
    assert said.exit_code == 2
    assert [row["label"] for row in json.loads(said.stdout)] == ["linear"]
    assert "1 of 2 rows not scored: middle-frame: " in said.stderr
    assert str(other) in said.stderr
    filled(Path(str(other)), 11)  # clips were added
    said = invoke("dense", runs, "--device", "cpu")
    assert said.exit_code == 2
    assert "linear" in said.stdout
    assert "middle-frame: " in said.stderr
    assert "holds other tokens" in said.stderr
    assert invoke("dense", runs, "--method", "middle-frame", "--device", "cpu").exit_code == 2


def test_no_recording_is_torn_between_twin_and_fold(store: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    train(store, runs, "--method", "linear", "--epochs", "1")
    call("dense", runs, "--device", "cpu")
    held: list[set[str]] = []
    for path in runs.glob("*/run.json"):
        record = json.loads(path.read_text())
        if record["config"]["task"].get("fold") is not None:
            import pyarrow.parquet as pq

            clips = pq.read_table(path.parent / "predictions.parquet")["clip"].to_pylist()
            held.append({clip.partition("@")[0] for clip in clips})
    assert len(held) == 3
    assert set().union(*held) == {f"r{seed}" for seed in range(6)}
    assert sum(map(len, held)) == 6


def said_of(store: Store, names: list[str]) -> Predictions:
    """A perfect answer of every window."""
    rows = [row for row in store.clips() if row.id.partition("@")[0] in names]
    labels = np.array([CLASSES.index(row.label) for row in rows])
    return Predictions(
        tuple(row.id for row in rows),
        tuple(row.group for row in rows),
        np.zeros(len(rows), np.int64),
        np.zeros(len(rows), bool),
        labels,
        20.0 * np.eye(3)[labels],
    )


def test_windows_are_averaged_where_they_lie(store: Store) -> None:
    table = TruthTable(store, CLASSES)
    said = said_of(store, ["r6", "r7"])
    labelled = label_recordings(said, table, 5, Smoothing(reach=2, shortest=1))
    assert [each.recording for each in labelled] == ["r6", "r7"]
    for each in labelled:
        truth = table[each.recording]
        places = dict(truth.recording.windows)
        for step in range(len(truth.labels)):
            holding = [
                row
                for row, clip in enumerate(said.clips)
                if clip in places and places[clip] <= step < places[clip] + 5
            ]
            expected = np.eye(3)[said.labels[holding]].mean(axis=0)
            np.testing.assert_allclose(each.scores[step], expected, atol=1e-6)


def test_detection_counts_segments_that_lie_under_others(store: Store) -> None:
    said = said_of(store, ["r6"])
    how = Smoothing(1, 1)
    before = score(said, TruthTable(store, CLASSES), CLASSES, 5, how, "")
    (first, *_) = [row for row in store.segments() if row.recording == "r6"]
    under = SegmentRow("r6", first.start_seconds, first.end_seconds, "close")
    store.change_segments(lambda rows: [*rows, under])
    after = score(said, TruthTable(store, CLASSES), CLASSES, 5, how, "")
    assert after.frame_accuracy == before.frame_accuracy
    assert after.map["0.5"] < before.map["0.5"]


def test_segments_that_name_background_are_not_to_be_detected(store: Store) -> None:
    """Files of action segmentation often list the background between actions."""
    said, how = said_of(store, ["r6", "r7"]), Smoothing(1, 1)
    before = score(said, TruthTable(store, CLASSES), CLASSES, 5, how, "")
    pauses = []
    for name in ("r6", "r7"):
        mine = sorted(row.start_seconds for row in store.segments() if row.recording == name)
        pauses.append(SegmentRow(name, 0.0, mine[0], BACKGROUND))
    store.change_segments(lambda rows: [*rows, *pauses])
    assert score(said, TruthTable(store, CLASSES), CLASSES, 5, how, "") == before


def test_labels_of_whole_recordings_may_be_several(store: Store) -> None:
    """One below another counts too; background does not."""
    said = said_of(store, ["r6", "r7"])
    table = TruthTable(store, CLASSES)
    assert score(said, table, CLASSES, 5, Smoothing(1, 1), "").labels_map == 1.0
    logits = said.logits.copy()
    for row, clip in enumerate(said.clips):
        if split_window(clip)[0] == "r6":
            logits[row] = 20.0 * np.eye(3)[table.background]
    one = [row for row in store.segments() if row.recording == "r7"]
    store.change_segments(lambda rows: [r for r in rows if r.recording != "r7"] + one[:1])
    wrong = replace(said, logits=logits)
    found = score(wrong, TruthTable(store, CLASSES), CLASSES, 5, Smoothing(1, 1), "").labels_map
    assert found == pytest.approx((1.0 + 0.5) / 2)  # open: both; close: r6 alone, after r7


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"split": "test"}, "are in train and in test: r0"),
        ({"label": ""}, "store labels --segments"),
        ({"group": "other"}, "in several groups: r0"),
    ],
)
def test_torn_or_unlabelled_recordings_are_refused(
    store: Store, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    store.change_clips(
        lambda rows: [replace(row, **change) if row.id == "r0@w000001" else row for row in rows]
    )
    done = invoke(
        *("probe", "--task", "dense", "--method", "linear", "--epochs", "1"),
        *("--store", store.path, "--runs", tmp_path / "runs"),
    )
    assert done.exit_code == 2
    assert named in done.stderr


def test_a_folder_without_dense_runs_says_what_to_do(store: Store, tmp_path: Path) -> None:
    call(
        *("probe", "--method", "linear", "--epochs", "1", "--store", store.path),
        *("--runs", tmp_path / "runs"),
    )
    assert "--task dense" in call("dense", tmp_path / "runs", code=2)
    assert len(open_store(store.path)) == len(store)
