"""`stepcli corruptions`: scores of trained probes on corrupted views of their test clips."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import invoke

from stepcli.cache.store.store import Store

VIEWS = ("center", "noise1", "noise5", "occlusion3")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, store_of: Callable[..., Store]) -> Path:
    """Each view's tokens are drawn anew around the class; those of noise5 are of another class."""
    place = tmp_path_factory.mktemp("corrupted")
    like = {f"{a}/{n}@noise5": f"{b}/{n}@center" for n in range(72) for a, b in (("b", "a"),)}
    store_of(place / "store", labels=("a", "b"), partners={}, clips_each=72, views=VIEWS, like=like)
    runs = ["--store", place / "store", "--runs", place / "runs", "--seeds", 2, "--epochs", 8]
    done = invoke("probe", "--method", "linear,first-last", *runs)
    assert done.exit_code == 0, done.output
    return place


def records(place: Path, *words: object) -> list[dict[str, Any]]:
    done = invoke("corruptions", place / "runs", "--format", "json", *words)
    assert done.exit_code == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_clean_is_the_score_of_the_runs_and_a_drop_is_relative(home: Path) -> None:
    results = json.loads(invoke("results", home / "runs", "--format", "json").stdout)
    found = records(home)
    assert [r["view"] for r in found if r["method"] == "linear"] == [
        "clean",
        "noise1",
        "noise5",
        "occlusion3",
    ]
    for method in ("linear", "first-last"):
        mine = {r["view"]: r for r in found if r["method"] == method}
        known = [r["top1"] for r in results if r["method"] == method]
        assert mine["clean"]["top1"] == pytest.approx(np.mean(known))
        assert mine["clean"]["relative_drop"] is None
        for view in VIEWS[1:]:
            clean, score = mine["clean"]["top1"], mine[view]["top1"]
            assert mine[view]["relative_drop"] == pytest.approx((clean - score) / clean)
            assert mine[view]["difference"] == pytest.approx(score - clean)
            assert mine[view]["low"] <= score - clean <= mine[view]["high"]
    fell = {r["view"]: r for r in found if r["method"] == "first-last"}
    assert fell["clean"]["top1"] > 0.9
    # Half of the clips look like the other class.
    assert fell["noise5"]["top1"] == pytest.approx(0.5, abs=0.05)
    assert fell["noise1"]["top1"] > 0.9


def test_tables_name_what_they_show(home: Path, tmp_path: Path) -> None:
    table = invoke("corruptions", home / "runs").stdout
    lines = table.splitlines()
    assert lines[0].split()[:5] == ["method", "clean", "noise", "occlusion", "mean"]
    assert "(clean - corrupted) / clean" in table
    assert "relative drop  noise1  noise5  occlusion3" in table
    out = tmp_path / "drops.csv"
    assert (
        invoke("corruptions", "--runs", home / "runs", "--format", "csv", "--out", out).stdout == ""
    )
    assert len(list(csv.DictReader(out.read_text().splitlines()))) == 8
    latex = invoke("corruptions", home / "runs", "--format", "latex").stdout
    assert latex.count("\\begin{tabular}") == 2


def test_backward_clips_of_frame_tokens_are_corrupted_too(
    home: Path, store_of: Callable[..., Store]
) -> None:
    place = home / "pairs"
    store_of(place / "store", clips_each=24, views=VIEWS)
    runs = ["--store", place / "store", "--runs", place / "runs", "--task", "arrow"]
    assert invoke("probe", "--method", "first-last", *runs).exit_code == 0
    found = {r["view"]: r["top1"] for r in records(place)}
    assert found["clean"] > 0.9
    assert found["noise1"] > 0.9
    runs[-1] = "twins"
    done = invoke("probe", "--method", "first-last", *runs)
    assert done.exit_code == 0, done.output
    done = invoke("corruptions", place / "runs")
    assert done.exit_code == 2
    assert "clean" in done.stdout
    assert "1 of 2 runs not asked: first-last-twins" in done.stderr


def test_stores_without_such_views_say_how_to_get_them(
    tmp_path: Path, store_of: Callable[..., Store]
) -> None:
    for name, views in (("plain", ("",)), ("alone", ("noise3",))):
        store_of(tmp_path / name / "store", clips_each=12, views=views)
        runs = ["--store", tmp_path / name / "store", "--runs", tmp_path / name / "runs"]
        assert invoke("probe", "--method", "linear", *runs, "--epochs", 1).exit_code == 0
        done = invoke("corruptions", tmp_path / name / "runs")
        assert done.exit_code == 2
        told = (
            "none; extract with --views corrupted" if name == "plain" else "without the view center"
        )
        assert told in done.stderr
