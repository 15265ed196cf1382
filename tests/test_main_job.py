"""The main job as a user runs it: real clips in, a table out that shows why order matters."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from stepcli.examples.demo import EXTRACTION, SCHEDULE, SEEDS


@pytest.fixture(scope="module")
def rows(stepcli: Any, openclose_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The demo's schedule on its cheap methods."""
    runs = tmp_path_factory.mktemp("runs")
    words = f"probe --method first-frame,last-frame,first-last,linear,step {SCHEDULE}"
    place = ("--seeds", SEEDS, "--store", openclose_store, "--runs", runs)
    done = stepcli(*words.split(), *place)
    assert done.returncode == 0, done.stderr
    table = stepcli("results", "--runs", runs, "--format", "json")
    assert table.returncode == 0, table.stderr
    return json.loads(table.stdout)


@pytest.fixture(scope="module")
def top1(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Top-1 on the test episodes, method to one fraction a seed."""
    by_method = defaultdict(list)
    for row in rows:
        by_method[row["method"]].append(row["top1"])
    assert {len(values) for values in by_method.values()} == {SEEDS}
    return by_method


def test_an_order_blind_probe_cannot_pass_one_half(top1: dict[str, list[float]]) -> None:
    assert max(top1["linear"]) <= 0.5
    assert min(top1["linear"]) >= 0.45  # it does know the pair


def test_single_frames_give_part_of_it_away(top1: dict[str, list[float]]) -> None:
    for method in ("first-frame", "last-frame"):
        assert 0.70 <= fmean(top1[method]) <= 0.84
    assert 0.90 <= fmean(top1["first-last"]) <= 0.99


def test_step_leaves_the_saddle_on_every_seed(top1: dict[str, list[float]]) -> None:
    assert min(top1["step"]) >= 0.9
    assert fmean(top1["step"]) >= 0.95
    frames = max(fmean(top1["first-frame"]), fmean(top1["last-frame"]))
    assert fmean(top1["step"]) >= frames + 0.15


def test_a_result_says_what_a_script_needs(rows: list[dict[str, Any]]) -> None:
    names = "run method task config seed split top1 top5 mean_class forced_choice params seconds"
    for row in rows:
        assert set(names.split()) | {"fingerprint"} <= row.keys()
        for metric in ("top1", "top5", "mean_class", "forced_choice"):
            assert 0 <= row[metric] <= 1
        assert row["split"] == "test"
        assert row["task"] == "arrow"
    assert len({row["run"] for row in rows}) == len(rows)
    assert len({row["fingerprint"] for row in rows}) == 1


def test_an_extraction_that_is_done_says_so(stepcli: Any, openclose_store: Path) -> None:
    again = stepcli(*EXTRACTION.split(), "--store", openclose_store)
    assert again.returncode == 0, again.stderr
    assert "384" in again.stdout + again.stderr


def test_other_settings_on_the_same_store_are_refused(stepcli: Any, openclose_store: Path) -> None:
    words = EXTRACTION.replace("--frames 16", "--frames 8")
    refused = stepcli(*words.split(), "--store", openclose_store)
    assert refused.returncode == 2
    assert "frames: store 16, asked 8" in refused.stderr
    assert "Traceback" not in refused.stderr
