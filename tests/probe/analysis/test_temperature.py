"""`stepcli calibrate`: what is fitted on too little, or does not help, is not kept or shown."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import call, invoke

from stepcli.cache.store.store import Store
from stepcli.probe.analysis.summary import analyse, temperatures
from stepcli.probe.analysis.temperature import FILE, RISKS, kept_calibration
from stepcli.probe.cli.analysis import describe
from stepcli.probe.report.write import write_report
from stepcli.probe.runs.configurations import configurations
from stepcli.probe.runs.predictions import FILE as PREDICTIONS
from stepcli.probe.runs.predictions import encode_predictions, read_predictions
from stepcli.runtime.errors import UsageError

LABELS = ("close", "open", "wave")
SHARE = ("--slice-share", 0.5)
TRAIN = ("probe", "--method", "first-last", "--seeds", 2, "--epochs", 10)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, store_of: Callable[..., Store]) -> Path:
    """Two seeds with their twins on half of 90 training clips of 3 classes in 30 groups; two of the
    classes look alike, so there are mistakes to be calibrated by.
    """
    folder = tmp_path_factory.mktemp("calibrate")
    store_of(folder / "store", clips_each=45, labels=LABELS)
    call(*TRAIN, "--store", folder / "store", "--runs", folder / "runs")
    call("calibrate", folder / "runs", *SHARE)
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def files(runs: Path) -> list[Path]:
    return sorted(runs.glob(f"*/{FILE}"))


def set_logits(runs: Path, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """Let the twins answer something else on their slices."""
    (found,) = configurations(runs)
    for twin in found.held_out:
        assert twin is not None
        said = read_predictions(runs / twin)
        logits = change(said.logits, said.labels).astype(np.float32)
        (runs / twin / PREDICTIONS).write_bytes(encode_predictions(replace(said, logits=logits)))


def test_what_is_kept_is_what_analysis_shows(runs: Path) -> None:
    (found,) = configurations(runs)
    assert len(files(runs)) == 2
    kept = [kept_calibration(file.parent) for file in files(runs)]
    assert sorted(temperatures(found) or ()) == sorted(k.temperature for k in kept if k)
    assert all(k is not None and k.samples == 45 and len(k.thresholds) == len(RISKS) for k in kept)


def test_a_slice_below_the_minimum_is_refused_before_a_twin_is_trained(
    made: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    call(*TRAIN, "--store", made / "store", "--runs", runs)
    before = sorted(runs.iterdir())
    done = invoke("calibrate", runs)
    assert done.exit_code == 2
    assert "2 of 2 runs have no temperature" in done.stderr
    assert "its slice is too small to fit a temperature: 9 clips of 3 classes in 3" in done.stderr
    # 0.4 gives 36 clips, 0.3 only 27.
    assert "(missing: 21 clips, 2 groups); hold out more with --slice-share 0.4, or" in done.stderr
    assert sorted(runs.iterdir()) == before
    wanted = invoke("calibrate", runs, *SHARE, "--slice-min", "clips=46")
    assert "(missing: 1 clip); no --slice-share up to 0.5 is enough; add" in wanted.stderr
    # A twin on too little is trained again on more.
    call("calibrate", runs, "--slice-min", "clips=9,groups=3")
    assert invoke("calibrate", runs).exit_code == 2
    assert not files(runs)
    call("calibrate", runs, *SHARE)
    assert [json.loads(file.read_text())["samples"] for file in files(runs)] == [45, 45]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda logits, labels: np.eye(3)[labels], "all 45 held-out samples are right"),
        (lambda logits, labels: -np.eye(3)[labels], "no better than chance"),
        (lambda logits, labels: np.zeros_like(logits), "no better than chance"),
    ],
)
def test_a_temperature_at_the_edge_is_an_error_and_not_kept(
    change: Callable[[np.ndarray, np.ndarray], np.ndarray], reason: str, runs: Path
) -> None:
    set_logits(runs, change)
    assert len(files(runs)) == 2
    done = invoke("calibrate", runs)
    assert done.exit_code == 2
    assert "first-last: classify, seed 0: temperature none" in done.stdout
    assert reason in done.stderr
    # Nor does an earlier one stay, which the twins' answers do not bear out.
    assert not files(runs)
    (found,) = configurations(runs)
    row = analyse(found).calibration
    assert (row.after, row.note) == (
        None,
        "no temperature was fitted on a slice of train: stepcli calibrate",
    )


def test_where_scaling_does_not_help_the_temperature_stays_1(runs: Path) -> None:
    def one_confident_mistake(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        right = 2.0 * np.eye(3)[labels]
        right[0] = np.roll(right[0], 1)
        return right

    set_logits(runs, one_confident_mistake)
    said = call("calibrate", runs)
    assert said.count("temperature 1.000 (scaling does not lower the NLL of held-out samples") == 2
    assert [json.loads(file.read_text())["temperature"] for file in files(runs)] == [1.0, 1.0]


@pytest.mark.parametrize("temperature", [20.0, 0.01])
def test_a_calibration_that_raises_the_nll_is_not_shown(
    temperature: float, runs: Path, tmp_path: Path
) -> None:
    for file in files(runs):
        kept = json.loads(file.read_text())
        file.write_text(json.dumps(kept | {"temperature": temperature}))
    (found,) = configurations(runs)
    analysis = analyse(found)
    assert analysis.calibration.after is None
    assert "raises the NLL of these samples from" in analysis.calibration.note
    lines = describe(analysis)
    assert any("--undo" in line for line in lines)
    assert not any("at temperature" in line for line in lines)
    write_report(runs, tmp_path / "report", pdf=False)
    page = (tmp_path / "report" / "index.html").read_text()
    figure = (tmp_path / "report" / "figures" / "calibration.svg").read_text()
    assert "raises the NLL of these samples" in page
    assert "Temperatures were fitted" not in page
    assert "temperature scaled" not in figure


def test_a_calibration_that_helps_is_shown(runs: Path, tmp_path: Path) -> None:
    (found,) = configurations(runs)
    row = analyse(found).calibration
    assert row.after is not None
    assert row.after.nll < row.before.nll
    assert row.note == ""
    write_report(runs, tmp_path / "report", pdf=False)
    assert "Temperatures were fitted" in (tmp_path / "report" / "index.html").read_text()
    # 15 groups of test clips are too few for intervals: each one's value instead.
    rows = (tmp_path / "report" / "tables" / "by-group.csv").read_text().splitlines()
    names, values = rows[0].split(",")[1:], rows[1].split(",")[1:]
    assert len(names) == len(set(names)) == len(values) == 15
    top1 = analyse(found).top1
    assert [float(value) for value in values] == pytest.approx(
        [100 * top1.by_group[name] for name in names], abs=0.051
    )


def test_undo_removes_what_was_kept_and_nothing_else(runs: Path) -> None:
    before = {path.relative_to(runs) for path in runs.rglob("*")}
    kept = {path.relative_to(runs) for path in files(runs)}
    assert "Removed the calibration of 2 runs" in call("calibrate", runs, "--undo")
    assert {path.relative_to(runs) for path in runs.rglob("*")} == before - kept
    assert "Removed the calibration of 0 runs" in call("calibrate", runs, "--undo")
    (found,) = configurations(runs)
    assert temperatures(found) is None
    # The twins are there, so it is soon back.
    assert "train-slice" not in call("calibrate", runs)
    assert len(files(runs)) == 2


@pytest.mark.parametrize("temperature", [1.0000000000000002e-4, 9999.999999999998, 0.0])
def test_a_temperature_at_the_edge_that_an_earlier_version_kept(
    temperature: float, runs: Path
) -> None:
    file = files(runs)[0]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"temperature": temperature}))
    with pytest.raises(UsageError, match=r"at the edge of its search.* calibrate .* --undo"):
        kept_calibration(file.parent)
    # Analysis continues without it and says why.
    assert "at the edge of its search" in " ".join(call("analyse", runs).split())
    call("calibrate", runs, "--undo")
    assert kept_calibration(file.parent) is None


def test_runs_of_several_stores_are_calibrated_in_one_go(
    made: Path, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    other = store_of(tmp_path / "other", clips_each=45, labels=LABELS, dim=8)
    for place in (made / "store", other.path):
        call(*TRAIN[:3], "--seeds", 1, "--epochs", 10, "--store", place, "--runs", runs)
    said = call("calibrate", runs, *SHARE)
    assert said.count("temperature") == 2
    assert len(files(runs)) == 2
    # One of the stores has moved.
    for path in runs.glob("first-last-*"):
        if json.loads((path / "run.json").read_text())["split"] == "train-slice":
            shutil.rmtree(path)
    shutil.move(other.path, tmp_path / "moved")
    lost = invoke("calibrate", runs, *SHARE)
    assert lost.exit_code != 0
    assert "other" in lost.stderr
    call("calibrate", runs, *SHARE, "--store", tmp_path / "moved")
    assert len(files(runs)) == 2
    wrong = store_of(tmp_path / "wrong", clips_each=45, labels=LABELS, dim=4)
    for path in runs.glob("first-last-*"):
        if json.loads((path / "run.json").read_text())["split"] == "train-slice":
            shutil.rmtree(path)
    refused = invoke("calibrate", runs, *SHARE, "--store", wrong.path)
    assert refused.exit_code == 2
    assert "holds other tokens than" in refused.stderr
