"""`stepcli analyse` and `calibrate`, through the door."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from typer.testing import CliRunner

from stepcli.cache.store.store import Store
from stepcli.cli import app
from stepcli.probe.analysis.summary import analyse, temperatures
from stepcli.probe.cli.analysis import describe
from stepcli.probe.runs.configurations import configurations


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, store_of: Callable[..., Store]) -> Path:
    """Two methods, two seeds, on two opposite classes and a third one; no slices."""
    folder = tmp_path_factory.mktemp("analyse")
    store_of(folder / "store", labels=("close", "open", "wave"), clips_each=45)
    call(
        *("probe", "--method", "linear,concat", "--seeds", 2, "--epochs", 4),
        *("--store", folder / "store", "--runs", folder / "runs"),
    )
    return folder / "runs"


def test_the_table_names_each_pair_and_fits_a_terminal(runs: Path) -> None:
    text = call("analyse", runs)
    assert max(map(len, text.splitlines())) <= 80
    assert text.index("linear: classify") < text.index("concat: classify")  # the weakest first
    assert text.count("close | open") == 2
    assert "classes with a partner: top-1" in text
    assert "classes without a partner: top-1" in text
    assert "stepcli calibrate" in text


def test_json_holds_what_the_predictions_say(runs: Path) -> None:
    linear, concat = json.loads(call("analyse", runs, "--json"))
    (pair,) = concat["pairs"]
    assert (pair["a"], pair["b"], pair["samples"]) == ("close", "open", 30)
    assert pair["forced_choice"] == pytest.approx(sum(pair["seeds"]) / 2) == 1
    assert linear["overall"]["macro_forced_choice"] < 1
    assert concat["symmetric"]["samples"] == 30
    assert concat["other"]["samples"] == 15
    # 15 groups are too few for an interval: each one's own value instead.
    top1 = concat["top1"]
    assert (top1["low"], top1["high"], top1["groups"]) == (None, None, 15)
    assert len(top1["by_group"]) == 15
    assert np.mean(list(top1["by_group"].values())) == pytest.approx(top1["mean"])
    assert concat["top1"]["groups"] == 15
    assert [row["partner"] for row in concat["classes"]] == ["open", "close", ""]
    assert concat["calibration"]["after"] is None


def test_a_users_pairs_replace_the_runs(runs: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("label,partner\nwave,open\nwave,close\n")
    (found,) = json.loads(call("analyse", runs, "--method", "concat", "--pairs", pairs, "--json"))
    assert [(row["a"], row["b"]) for row in found["pairs"]] == [
        *(("open", "wave"), ("close", "wave"))
    ]
    pairs.write_text("label,partner\nwave,oppen\n")
    done = CliRunner().invoke(app, ["analyse", str(runs), "--pairs", str(pairs)])
    assert done.exit_code == 2
    assert "did you mean open" in done.stderr


def test_no_pairs_and_few_groups_are_said(store_of: Callable[..., Store], tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", partners={})
    call(
        *("probe", "--method", "linear", "--epochs", 1),
        *("--store", store.path, "--runs", tmp_path / "runs"),
    )
    text = call("analyse", tmp_path / "runs")
    assert "no pair of nearly symmetric classes" in text
    assert "[" not in text.splitlines()[1]  # two groups of clips bear no interval


def test_calibration_is_fitted_on_a_slice_that_the_twin_has_not_seen(runs: Path) -> None:
    share = ("--slice-share", 0.4)
    said = call("calibrate", runs, "--method", "linear", *share)
    assert "linear: classify, seed 0: temperature" in said
    assert "linear: classify, seed 1: temperature" in said
    (found,) = configurations(runs, ["linear"])
    assert None not in found.held_out
    fitted = temperatures(found)
    assert fitted is not None
    row = analyse(found).calibration
    assert row.after is not None
    assert row.after.temperature == pytest.approx(sum(fitted) / 2)
    assert any("at temperature" in line for line in describe(analyse(found)))
    # A second call finds the twins; they are no rows of the table of results.
    assert "train-slice" not in call("calibrate", runs, "--method", "linear", *share)
    assert len(configurations(runs)) == 2


def test_the_arrow_of_time_by_type_of_class(store_of: Callable[..., Store], tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", labels=("close", "open", "wave", "tear"), clips_each=15)
    kinds = {"wave": "invariant", "tear": "irreversible"}
    store.replace_classes(
        [replace(row, kind=kinds.get(row.name, row.kind)) for row in store.classes()]  # type: ignore[arg-type]
    )
    call(
        *("probe", "--method", "linear,concat", "--task", "arrow", "--epochs", 8),
        *("--store", store.path, "--runs", tmp_path / "runs"),
    )
    found = {row["method"]: row for row in json.loads(call("analyse", tmp_path / "runs", "--json"))}
    blind, sees = (found[name]["types"] for name in ("linear", "concat"))
    for equivariant, invariant in (blind, sees):
        assert (equivariant["type"], equivariant["classes"]) == ("equivariant", 2)
        assert (invariant["type"], invariant["classes"], invariant["samples"]) == (
            *("invariant", 1),
            10,
        )
        assert equivariant["samples"] == 20
    # What does not see order says one thing of both directions.
    assert (blind[0]["turns"], blind[1]["turns"]) == (0, 1)
    assert blind[0]["top1"] <= 0.5
    assert sees[0]["turns"] > 0.8
    assert sees[0]["top1"] == (sees[0]["forward"] + sees[0]["backward"]) / 2 > 0.8
    assert "turn as they should" in call("analyse", tmp_path / "runs")


def test_a_damaged_table_of_predictions_is_named(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    name = next(path for path in sorted(runs.iterdir()) if path.name.startswith("concat")).name
    (folder / name).mkdir(parents=True)
    (folder / name / "run.json").write_bytes((runs / name / "run.json").read_bytes())
    (folder / name / "predictions.parquet").write_bytes(b"PAR1")
    done = CliRunner().invoke(app, ["analyse", str(folder)])
    assert done.exit_code == 2
    assert "predictions.parquet cannot be read" in done.stderr
