"""What comes next: no observed frame is later than the horizon allows, and the field's measures."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import call, invoke
from recording_store import window_store

from stepcli.cache.schema.clips import SegmentRow
from stepcli.cache.schema.segments import BACKGROUND
from stepcli.cache.schema.windows import split_window
from stepcli.cache.store.store import Store
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.anticipation import before_actions
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.splits import labelled_clips
from stepcli.runtime.errors import UsageError

CLASSES = ("cut", "open", "pour")
RATE = 2


def made(seed: int, rule: str, path: Path) -> Store:
    """Six recordings of 40 steps; tokens show the class of the action that comes next."""
    random = np.random.default_rng(seed)
    tokens, segments = {}, []
    for number in range(6):
        name = f"r{number}"
        following = np.zeros(40, np.int64)
        starts = np.sort(random.choice(np.arange(4, 36), 5, replace=False))
        for place, start in enumerate(starts.tolist()):
            label = int(random.integers(3))
            following[0 if place == 0 else starts[place - 1] : start] = label
            # Off the grid, so that no frame lies on the limit by chance alone.
            begin = start / RATE + float(random.choice([0.0, 0.13]))
            segments.append(SegmentRow(name, begin, begin + 1.0, CLASSES[label]))
        tokens[name] = np.eye(4, dtype=np.float32)[following][:, None]
    splits = {f"r{number}": "test" if number > 3 else "train" for number in range(6)}
    store = window_store(path, tokens, rule, splits=splits)
    store.change_segments(lambda _: segments)
    store.change_clips(lambda rows: [type(r)(r.id, "x", r.split, r.group, r.view) for r in rows])
    return store


@pytest.mark.parametrize("horizon", [0.0, 0.5, 1.0, 2.3])
@pytest.mark.parametrize("rule", ["3@2fps/1", "4@2fps/3"])
@pytest.mark.parametrize("seed", range(3))
def test_no_observed_frame_is_later_than_allowed(
    seed: int, rule: str, horizon: float, tmp_path: Path
) -> None:
    store = made(seed, rule, tmp_path / "store")
    found = before_actions(labelled_clips(store, "train", "test"), store, horizon)
    every = {record.id: record.pts_seconds for record in store.records(store.ids)}
    rows = (*found.train, *found.test)
    assert rows
    for row in rows:
        recording = split_window(row.id)[0]
        actions = [one for one in store.segments() if one.recording == recording]
        # Some action of that class starts late enough after every frame of the window ...
        fitting = [
            one
            for one in actions
            if one.label == row.label and max(every[row.id]) <= one.start_seconds - horizon + 1e-6
        ]
        assert fitting
        # ... and for one of them no window of the recording ends later and still early enough.
        assert any(
            all(
                max(times) <= max(every[row.id]) or max(times) > one.start_seconds - horizon + 1e-6
                for clip, times in every.items()
                if split_window(clip)[0] == recording
            )
            for one in fitting
        )


def test_every_action_is_a_sample_or_counted(tmp_path: Path) -> None:
    store = made(0, "4@2fps/4", tmp_path / "store")
    found = before_actions(labelled_clips(store, "train", "test"), store, 1.0)
    left_out = sum(int(w.split()[0]) for w in found.warnings if "action" in w)
    assert len(found.train) + len(found.test) + left_out == len(store.segments()) == 30
    assert left_out
    assert "background" not in found.classes


def test_background_is_no_action_that_starts(tmp_path: Path) -> None:
    store = made(0, "4@2fps/4", tmp_path / "store")
    table = labelled_clips(store, "train", "test")
    before = before_actions(table, store, 1.0)
    pauses = [SegmentRow(f"r{number}", 15.0, 16.0, BACKGROUND) for number in range(6)]
    store.change_segments(lambda rows: [*pauses, *rows])
    assert before_actions(table, store, 1.0) == before
    store.change_segments(lambda _: pauses)
    with pytest.raises(UsageError, match="no segments of actions"):
        before_actions(table, store, 1.0)


def test_what_is_shown_next_is_foretold_and_measured(tmp_path: Path) -> None:
    store = made(1, "3@2fps/1", tmp_path / "store")
    runs = tmp_path / "runs"
    call(
        *("probe", "--task", "anticipate", "--horizon", 0.5, "--method", "last-frame"),
        *("--epochs", 40, "--store", store.path, "--runs", runs),
    )
    (path,) = runs.glob("*/run.json")
    record = json.loads(path.read_text())
    assert record["top1"] > 0.9
    assert record["mean_class_recall5"] == 1.0
    assert record["config"]["task"]["horizon"] == 0.5
    assert "class-mean recall@5 100.0" in call("analyse", runs)


def test_a_task_without_a_horizon_is_as_before() -> None:
    assert "horizon" not in TaskConfig().model_dump()
    for wrong in ({"name": "anticipate"}, {"horizon": 1.0}):
        with pytest.raises(UsageError, match="--horizon"):
            TaskConfig(**wrong)


def test_what_cannot_be_foretold_is_refused(tmp_path: Path) -> None:
    store = made(0, "4@2fps/4", tmp_path / "store")
    table = labelled_clips(store, "train", "test")
    with pytest.raises(UsageError, match="smaller --horizon"):
        before_actions(table, store, 100.0)
    store.change_segments(lambda _: [])
    config = TaskConfig(name="anticipate", horizon=1.0)
    with pytest.raises(UsageError, match="store labels --segments"):
        make_task(config, store, table)
    done = invoke(
        *("probe", "--task", "anticipate", "--method", "linear", "--store", store.path),
        *("--runs", tmp_path / "runs"),
    )
    assert done.exit_code == 2
