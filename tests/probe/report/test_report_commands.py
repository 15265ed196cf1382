"""The report's commands: pasted into a shell, they train the very same runs again."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import call
from typer.testing import CliRunner

from stepcli.cache.store.store import Store
from stepcli.cli import app
from stepcli.probe.report.commands import commands
from stepcli.probe.report.report_data import gather

SWEEP = """
methods:
  step: {heads: 4, dropout: 0.1}
  linear: {lr: 2e-3}
task: {pairs: [[open, close]]}
variants: [{train_share: 0.5}, {shots: 2}, {frame_order: shuffled}, {}]
shared: {epochs: 2, batch_size: 8, mixup: 0.2}
recipe: {label_smoothing: 0.0}
seeds: 2
"""


@pytest.fixture
def trained(store_of: Callable[..., Store], tmp_path: Path) -> Path:
    """Runs of every form of a command, on two stores in folders with a blank in their names."""
    for name, frames in (("a store", 6), ("b", 8)):
        store_of(tmp_path / name, frames=frames, clips_each=9)
    common = ("--runs", tmp_path / "runs", "--epochs", 1)
    for name in ("a store", "b"):
        call("probe", "--method", "linear,knn", "--store", tmp_path / name, *common)
    arrow = ("--task", "arrow", "--clip-frames", 4, "--temporal-crop", "--frame-order", "shuffled")
    call("probe", "--method", "concat", "--seeds", 2, *arrow, "--directions", "forward",
         "--lr", 3e-3, "--store", tmp_path / "b", *common)  # fmt: skip
    splits = tmp_path / "my splits.csv"
    rows = [f"{label}/{n},{'test' if n > 6 else 'train'}" for label in ("open", "close")
            for n in range(9)]  # fmt: skip
    splits.write_text("clip,split\n" + "\n".join(rows) + "\n")
    call("probe", "--method", "linear", "--split-file", splits, "--store", tmp_path / "b", *common)
    call("probe", "--method", "concat", "--protocol", "leave-one-group-out",
         "--store", tmp_path / "b", *common)  # fmt: skip
    call("probe", "--method", "linear", "--task", "sawtooth", "--store", tmp_path / "b", *common)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    call("sweep", tmp_path / "sweep.yaml", "--store", tmp_path / "b", "--runs", tmp_path / "runs")
    return tmp_path


def names(runs: Path) -> set[str]:
    return {path.parent.name for path in runs.glob("*/run.json")}


def test_pasted_commands_train_the_same_runs(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)  # paths below here are written without their beginning
    lines = [line for study in gather(trained / "runs") for line in commands(study)]
    assert not any(str(trained) in line for line in lines if "my splits" not in line)
    assert any(line.startswith("cat > ") for line in lines)
    assert sum(line.startswith("stepcli probe ") for line in lines) > 4
    # A shell runs them unchanged; the program is this process's interpreter.
    (trained / "bin").mkdir()
    program = trained / "bin" / "stepcli"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m stepcli.cli "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{trained / 'bin'}:{os.environ['PATH']}",
        "STEPCLI_RUNS": str(trained / "again"),
    }
    # One process for all: a sweep's file and its command belong together, the rest run in this one.
    shell = [line for line in lines if line.startswith("cat > ")]
    assert shell
    done = subprocess.run(
        ["bash", "-e", "-c", shell[0]], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("STEPCLI_RUNS", str(trained / "again"))
    for line in lines:
        for words in (each for each in line.splitlines() if each.startswith("stepcli ")):
            if line.startswith("cat > "):
                name = line.split()[2]
                Path(name).write_text(line.split("\n", 1)[1].partition("END\n")[0])
            invoke(words)
    assert names(trained / "again") == names(trained / "runs")


def invoke(line: str) -> None:
    import shlex

    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, f"{line}\n{done.output}\n{done.stderr}"


def test_other_seeds_are_named(trained: Path) -> None:
    """Of three seeds only the last is left: the command trains the others too, with a note."""
    for path in (trained / "runs").glob("concat-*/run.json"):
        if '"seed": 0' in path.read_text():
            path.unlink()
    lines = [line for study in gather(trained / "runs") for line in commands(study)]
    (line,) = [line for line in lines if "--method concat" in line]
    assert line.startswith("# Seeds 1 are shown above; this trains 0 to 1.\n")
    assert "--seeds 2" in line
