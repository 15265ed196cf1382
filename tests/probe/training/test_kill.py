"""A sweep killed with SIGKILL again and again ends with the table of the undisturbed one."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from stepcli.cache.store.store import Store
from stepcli.probe.cli.options import resumable
from stepcli.probe.config import DataConfig, RunConfig, TaskConfig
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.preemption import PREEMPTED
from stepcli.runtime.settings import JsonObject

KILLS = int(os.environ.get("STEPCLI_KILLS", "1"))
"""`make kill-test` raises it to 20."""
CLOCK = ("seconds", "seconds_an_epoch", "finished")
CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from test_kill import sweep
sweep(*sys.argv[2:])
"""


def sweep(store: str, runs: str) -> None:
    """Eight runs that are saved at every chance."""
    task = TaskConfig(name="arrow", clip_frames=4, temporal_crop=True)
    shared = DataConfig(epochs=20, batch_size=4)
    rates: list[JsonObject] = [{"lr": 1e-3}, {"lr": 1e-2}]
    configs = [
        config
        for method in ("step", "linear")
        for config in run_configs(method, rates, {}, task, shared, range(2))
    ]
    Session(Path(store), Path(runs), "cpu", save_seconds=0.0).run(configs)


def start(store: Store, runs: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(Path(__file__).parent), str(store.path), str(runs)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def table(runs: Path) -> list[dict[str, Any]]:
    """What the runs say, without what may differ: clock and date."""
    records = [json.loads(path.read_text()) for path in sorted(runs.glob("*/run.json"))]
    return [{k: v for k, v in r.items() if k not in CLOCK} for r in records]


def changes(runs: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in runs.glob(".resume/[!.]*")} | {
        (str(path), 0) for path in runs.glob("*/run.json")
    }


def test_killed_at_random_moments(store: Store, tmp_path: Path) -> None:
    sweep(str(store.path), str(tmp_path / "calm"))
    want = table(tmp_path / "calm")
    assert len(want) == 8
    moments = random.Random(0)
    for number in range(KILLS):
        # A folder for every few kills: each must find something left to interrupt.
        runs = tmp_path / f"killed{number // 4}"
        before = changes(runs)
        process = start(store, runs)
        # Wait for progress, or every kill would hit the imports.
        deadline = time.monotonic() + 60
        while changes(runs) == before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        assert process.wait() in (-signal.SIGKILL, 0)
        if number % 4 == 3 or number == KILLS - 1:
            sweep(str(store.path), str(runs))
            assert table(runs) == want


def test_two_sweeps_in_one_folder_do_not_disturb_each_other(store: Store, tmp_path: Path) -> None:
    """Both finish, whichever writes a run first; each run's folder is whole."""
    runs = tmp_path / "runs"
    both = [start(store, runs), start(store, runs)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert len(table(runs)) == 8
    for name in ("probe.safetensors", "predictions.parquet"):
        assert len(list(runs.glob(f"*/{name}"))) == 8
    assert not list(runs.glob(".*-*"))


def long_sweep() -> list[RunConfig]:
    """Enough epochs that no run is done when the signal comes."""
    task = TaskConfig(name="arrow", clip_frames=4, temporal_crop=True)
    shared = DataConfig(epochs=100, batch_size=32)
    return [c for m in ("step", "linear") for c in run_configs(m, [{}], {}, task, shared, [0, 1])]


@pytest.mark.usefixtures("own_sigterm")
def test_sigterm_ends_a_sweep_with_75_and_it_goes_on(store: Store, tmp_path: Path) -> None:
    runs, calm = tmp_path / "runs", tmp_path / "calm"
    Session(store.path, calm, "cpu").run(long_sweep())

    def preempt() -> None:
        while not changes(runs):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=preempt, daemon=True).start()
    with pytest.raises(typer.Exit) as ended, resumable():
        Session(store.path, runs, "cpu", save_seconds=0.0).run(long_sweep())
    assert ended.value.exit_code == PREEMPTED
    assert not list(runs.glob("*/run.json"))
    Session(store.path, runs, "cpu").run(long_sweep())
    assert table(runs) == table(calm)
