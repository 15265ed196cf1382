"""The short form of `make fuzz`: some hostile files of every format that is read."""

import subprocess
import sys
from pathlib import Path


def test_no_file_of_a_stranger_does_harm() -> None:
    """In a process of its own: it runs under a memory limit, and a crash must not end the tests."""
    script = Path(__file__).parent / "fuzz.py"
    command = [sys.executable, str(script), "--cases", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sweep.yaml" in done.stdout
