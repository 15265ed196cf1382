"""The main job as a user runs it: real clips in, a table out that shows why order matters.

STEPCLI_DEMO_SEEDS sets how many seeds the demo trains (default 2); `make demo-check` trains all of
its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from recomputed_metrics import recompute

from stepcli.examples.demo import CONTROLS, EXTRACTION, ORDER_BLIND, SCHEDULE, SEEDS

METHODS = (*CONTROLS, *ORDER_BLIND, "step")
TRAINED = int(os.environ.get("STEPCLI_DEMO_SEEDS", "2"))
DEMO = f"""
import sys
from stepcli.cli import app
from stepcli.examples import demo
demo.SEEDS = {TRAINED}
app(["demo", "--out", sys.argv[1]])
"""


@pytest.fixture(scope="module")
def demo(openclose_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `stepcli demo` leaves, and what it printed; the clips are extracted already.

    Of its seeds the first `TRAINED`, which train as they do beside the others.
    """
    out = tmp_path_factory.mktemp("demo")
    shutil.copytree(openclose_store, out / "store")
    command = [sys.executable, "-c", DEMO, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr
    (out / "printed.txt").write_text(done.stdout)
    return out


@pytest.fixture(scope="module")
def runs(demo: Path) -> Path:
    """The runs of the demo: seven methods, `TRAINED` seeds each."""
    return demo / "runs"


@pytest.fixture(scope="module")
def rows(stepcli: Any, runs: Path) -> Any:
    """The table of the runs, as a script reads it."""
    table = stepcli("results", "--runs", runs, "--format", "json")
    assert table.returncode == 0, table.stderr
    return json.loads(table.stdout)


@pytest.fixture(scope="module")
def top1(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Top-1 on the test episodes, method to one fraction per seed."""
    by_method = defaultdict(list)
    for row in rows:
        by_method[row["method"]].append(row["top1"])
    assert {len(values) for values in by_method.values()} == {TRAINED}
    return by_method


def test_the_demo_prints_its_commands_its_table_and_a_verdict(
    demo: Path, top1: dict[str, list[float]]
) -> None:
    printed = (demo / "printed.txt").read_text()
    assert f"$ stepcli {EXTRACTION} --store {demo}/store" in printed
    assert f"--seeds {TRAINED} {SCHEDULE} --store {demo}/store --runs {demo}/runs" in printed
    assert all(re.search(rf"^{method} ", printed, re.MULTILINE) for method in METHODS)
    assert f"STEP {100 * fmean(top1['step']):.1f} %" in printed


def test_an_order_blind_probe_cannot_pass_one_half(top1: dict[str, list[float]]) -> None:
    for method in ORDER_BLIND:
        assert max(top1[method]) <= 0.5
        assert min(top1[method]) >= 0.45  # it does know the pair


def test_single_frames_give_part_of_it_away(top1: dict[str, list[float]]) -> None:
    for method in ("first-frame", "last-frame"):
        assert 0.68 <= fmean(top1[method]) <= 0.76
    assert 0.86 <= fmean(top1["first-last"]) <= 0.91


def test_step_leaves_the_saddle_on_every_seed(top1: dict[str, list[float]]) -> None:
    assert min(top1["step"]) >= 0.86
    assert fmean(top1["step"]) >= 0.88
    frames = max(fmean(top1["first-frame"]), fmean(top1["last-frame"]))
    assert fmean(top1["step"]) >= frames + 0.14


def test_another_program_gets_the_same_figures(
    stepcli: Any, runs: Path, rows: list[dict[str, Any]]
) -> None:
    """Top-1, top-5, mean class accuracy, forced choice, AUC and ECE from the logits alone."""
    again = {run.parent.name: recompute(run.parent) for run in runs.glob("*/run.json")}
    assert len(again) == len(rows) == len(METHODS) * TRAINED
    for row in rows:
        for metric in ("top1", "top5", "mean_class", "forced_choice"):
            assert row[metric] == pytest.approx(again[row["run"]][metric], abs=1e-9), row["run"]
    analysed = stepcli("analyse", runs, "--json")
    assert analysed.returncode == 0, analysed.stderr
    for figures in json.loads(analysed.stdout):
        own = [each for each in again.values() if each["method"] == figures["method"]]
        assert len(own) == TRAINED
        auc, ece = (fmean(each[metric] for each in own) for metric in ("auc", "ece"))
        assert figures["overall"]["macro_auc"] == pytest.approx(auc, abs=1e-9)
        assert figures["calibration"]["before"]["ece"] == pytest.approx(ece, abs=1e-6)


def test_the_readme_shows_these_figures(project: Path, top1: dict[str, list[float]]) -> None:
    """One point is allowed: another processor rounds otherwise, and not all seeds are trained."""
    section = readme(project).partition("### Results of the demo")[2].partition("\n### ")[0]
    assert f"over {SEEDS} seeds" in section
    shown = dict(re.findall(r"^\| \**([a-z-]+)\** \|.*?\| \**(\d+\.\d) ±", section, re.MULTILINE))
    assert shown.keys() == top1.keys()
    for method, values in top1.items():
        assert float(shown[method]) == pytest.approx(100 * fmean(values), abs=1.0)


def readme(project: Path) -> str:
    return (project / "README.md").read_text()


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
