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
    assert "faults, 0 wrong" in run("fault_rounds.py", "--rounds", "12", "--seed", "3")


def test_verify_beside_compact_in_another_process() -> None:
    assert "0 wrong" in run("beside_rounds.py", "--rounds", "1")
