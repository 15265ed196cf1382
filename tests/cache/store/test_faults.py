"""One fault at a time at the calls a store makes: a few of what `make fault-test` runs."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]


def run(script: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, HERE / script, *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_calls_of_the_system_that_fail() -> None:
    actions = ("write", "labels", "merge", "compact", "convert", "repair", "verify", "read")
    words = ("--rounds", "12", "--seed", "3", "--actions", *actions)
    assert "faults, 0 wrong" in run("fault_rounds.py", *words)


def test_an_export_beside_calls_that_fail() -> None:
    words = ("--rounds", "4", "--seed", "3", "--actions", "export", "--formats", "zarr")
    assert "faults, 0 wrong" in run("fault_rounds.py", *words)


def test_verify_beside_compact_in_another_process() -> None:
    assert "0 wrong" in run("beside_rounds.py", "--rounds", "1")
