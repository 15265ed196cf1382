"""The scripts for SLURM, run by bash with SLURM's variables; only `scontrol` is a stand-in."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
CLIP = TREE / "examples/openclose/clips/door-open/000.mp4"
SCRIPTS = sorted((TREE / "examples" / "slurm").glob("*.sbatch"))
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_ARRAY_JOB_ID": "7",
    "SLURM_ARRAY_TASK_ID": "0",
    "SLURM_ARRAY_TASK_COUNT": "1",
}
every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A virtual environment with this stepcli, and a scontrol that writes down its words."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    write(programs / "stepcli", f'exec {sys.executable} -P -m stepcli.cli "$@"')
    write(programs / "scontrol", f'echo "$@" >> {tmp_path}/requeued')
    (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
    return os.environ | SLURM | {"STEPCLI_VENV": str(tmp_path / "venv")}


def write(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def run(script: Path, environment: dict[str, str], *words: object) -> subprocess.CompletedProcess:
    command = ["bash", str(script), *map(str, words)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@every_script
def test_a_script_asks_for_what_a_job_needs(script: Path) -> None:
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?", script.read_text(), re.MULTILINE))
    assert {"gpus", "cpus-per-task", "mem", "time", "requeue", "signal"} <= asked.keys()
    assert asked["signal"] == "B:TERM@60"


def test_quarantined_clips_are_no_failure_of_the_job(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        folder = tmp_path / "videos" / name
        folder.mkdir(parents=True)
        shutil.copy(CLIP, folder / "0.mp4")
        (folder / "1.mp4").write_bytes(b"no video")
    done = run(
        *(TREE / "examples/slurm/extract.sbatch", environment),
        *("--dataset", "folder", "--root", tmp_path / "videos", "--store", tmp_path / "store"),
        *("--backbone", "mobilenet_v2-bundled-320", "--tokens", "grid2", "--frames", 4),
    )
    assert done.returncode == 0, done.stderr
    assert "some clips are quarantined" in done.stdout
    assert not (tmp_path / "requeued").exists()


@every_script
def test_an_error_stays_an_error(script: Path, environment: dict[str, str], tmp_path: Path) -> None:
    word = "--no-such-option"
    assert run(script, environment, word).returncode == 2
    assert not (tmp_path / "requeued").exists()
    gone = environment | {"STEPCLI_VENV": str(tmp_path / "gone")}
    assert run(script, gone, word).returncode == 1


@every_script
def test_a_job_that_is_stopped_asks_to_be_queued_again(
    script: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """The stand-in for stepcli ends as stepcli does on SIGTERM, a moment after it."""
    ready = tmp_path / "ready"
    wait = f'trap "sleep 0.2; exit 75" TERM; touch {ready}; while :; do sleep 0.05; done'
    write(tmp_path / "venv/bin/stepcli", wait)
    started = subprocess.Popen(["bash", str(script)], env=environment, stdout=subprocess.DEVNULL)
    while not ready.exists():
        time.sleep(0.02)
        assert started.poll() is None
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=60) == 0
    job = "7_0" if script.stem == "extract" else "7"
    assert (tmp_path / "requeued").read_text() == f"requeue {job}\n"
