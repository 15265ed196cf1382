"""A new user's shell for `transcript.py`: runs commands, and measures their time and disk."""

import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SHOWN_LINES = 40
SHOWN_FOLDERS = 3
SMALLEST = 50_000
"""Bytes; folders that change by less, or by less than 1 % of the largest change, are not listed."""


@dataclass
class Newcomer:
    """A home with nothing in it, the commands typed there so far and their cost."""

    home: Path
    python: str
    """Interpreter that `python3` and `make` take for new environments."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment."""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        ours = (
            "STEPCLI",
            "PYTHON",
            "VIRTUAL_ENV",
            "HF_",
            "XDG_CACHE",
            "XDG_STATE",
            "MAKE",
        )
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(ours)},
            "PATH": f"{self.home}/venv/bin:{os.environ['PATH']}",
            "PYTHON": self.python,
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "100",
            "PIP_QUIET": "2",
            # As a new user: no cache is filled, no folder or file is trusted yet.
            "XDG_CACHE_HOME": f"{self.home}/.cache",
            "XDG_STATE_HOME": f"{self.home}/.local/state",
            **self.variables,
        }
        self.measure()

    def measure(self) -> None:
        """Take the disk space as it is now: the next command is charged with what it adds."""
        self.disk = measure_folders(self.home)

    @property
    def bytes(self) -> int:
        """Disk below the home."""
        return sum(self.disk.values())

    def type(self, line: str, folder: str = ".", shown: str | None = None) -> str:
        """One command at a prompt, its output, time and disk, and its exit code if that is not 0.

        Args:
            line: the command.
            folder: where it is typed, relative to the home.
            shown: the command on the page, if it differs.
        """
        run = re.sub(r"^python3 -m venv", f"{self.python} -m venv", line)
        # A new shell each time: what `activate` would do is in the environment already.
        run = "true" if line.startswith(". ") else run
        started = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", run],
            cwd=self.home / folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        took = time.monotonic() - started
        self.seconds += took
        before, self.disk = self.disk, measure_folders(self.home)
        cost = f"[{took:.1f} s; disk {describe_change(before, self.disk)}]"
        failed = [f"[exit code {done.returncode}]"] if done.returncode else []
        lines = [*cut(done.stdout.rstrip().splitlines()), cost, *failed]
        text = "\n".join([f"$ {shown or line}", *lines])
        return text.replace(str(self.home), "~").replace(self.python, "python3")


def cut(lines: list[str]) -> list[str]:
    """A long output without its middle."""
    left = len(lines) - SHOWN_LINES
    if left <= 0:
        return lines
    return [*lines[: SHOWN_LINES // 2], f"... {left} lines ...", *lines[-SHOWN_LINES // 2 :]]


def measure_folders(home: Path) -> dict[str, int]:
    """Bytes on disk of every folder of the home, and of every folder of a clone in it."""
    found: dict[str, int] = {}
    for place in home.iterdir():
        parts = [place] if not (place / ".git").exists() else place.iterdir()
        for part in parts:
            found[part.relative_to(home).as_posix()] = disk_of(part)
    return found


def disk_of(place: Path) -> int:
    """Bytes on disk of a file or folder, each hard link once."""
    done = subprocess.run(
        ["du", "-sk", str(place)],
        capture_output=True,
        text=True,
        check=True,
    )
    return 1024 * int(done.stdout.split()[0])


def describe_change(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """The change in total, then of the folders that changed most."""
    changes = {name: after.get(name, 0) - before.get(name, 0) for name in sorted({*before, *after})}
    most = sorted(changes, key=lambda name: -abs(changes[name]))[:SHOWN_FOLDERS]
    least = max(SMALLEST, abs(changes[most[0]]) / 100) if most else SMALLEST
    several = [f"~/{name} {signed(changes[name])}" for name in most if abs(changes[name]) >= least]
    if not several:
        return "+0 MB"
    return f"{signed(sum(changes.values()))}: {', '.join(several)}"


def signed(change: int) -> str:
    """A change in bytes."""
    return f"{'-' if change < 0 else '+'}{amount(abs(change))}"


def amount(count: int) -> str:
    """Bytes as people read them."""
    if count >= 1_000_000_000:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.{0 if count >= 10_000_000 else 1}f} MB"
