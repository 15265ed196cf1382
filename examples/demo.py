"""`stepcli demo`: the whole way on the bundled clips, in the steps a user would take.

The arrow of time on opposite actions (open/close, push/pull): each clip is shown forward and
backward, and the backward clip takes the opposite label. A probe that does not see the order of
frames cannot score above 50 %.
"""

import shlex
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from stepcli.runtime.errors import StepcliError
from stepcli.runtime.terminal import say, say_lines

if TYPE_CHECKING:
    from stepcli.probe.runs.record import RunRecord

CONTROLS = ("first-frame", "last-frame", "first-last")
ORDER_BLIND = ("linear", "attentive", "self-attention")
SEEDS = 5
EXTRACTION = (
    "extract --dataset openclose --backbone mobilenet_v2-bundled-320 --frames 16 --tokens grid2"
)
SCHEDULE = "--task arrow --clip-frames 8 --temporal-crop"


class DemoFailed(StepcliError):
    """One of the demo's commands did not end well."""


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the demo's store and runs; made when missing.")
    ] = Path("demo-out"),
) -> None:
    """Extract the bundled clips, train seven methods on them, and say what the table shows.

    Offline, one to two minutes on two cores. A second call finds the store and the runs done.
    """
    started = time.monotonic()
    store, runs = out / "store", out / "runs"
    _run(EXTRACTION, f"--store {shlex.quote(str(store))}")
    methods = ",".join((*CONTROLS, *ORDER_BLIND, "step"))
    place = f"--store {shlex.quote(str(store))} --runs {shlex.quote(str(runs))}"
    _run(f"sweep --method {methods} --seeds {SEEDS} {SCHEDULE} {place}")
    from stepcli.probe.runs.record import read_runs
    from stepcli.probe.runs.table import render, terminal_width

    _say(f"results --runs {shlex.quote(str(runs))}")
    rows = read_runs(runs)
    say_lines(render(rows, "table", width=terminal_width()))
    say()
    say(_verdict(rows))
    say(f"(the demo took {time.monotonic() - started:.0f} s)")


def _say(line: str) -> None:
    """Show a command as a user would type it."""
    say()
    say(f"$ stepcli {line}", bold=True)


def _run(*words: str) -> None:
    """Run a command in a process of its own, as a user would: each sets up its own threads."""
    line = " ".join(words)
    _say(line)
    command = [sys.executable, "-P", "-m", "stepcli.cli", *shlex.split(line)]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise DemoFailed(f"`stepcli {line}` ended with exit code {code}; its message is above")


def _verdict(rows: "list[RunRecord]") -> str:
    """Say what the table shows, from its numbers alone."""

    def mean_top1(method: str) -> float:
        return 100 * fmean(row.top1 for row in rows if row.method == method)

    step, both_ends = mean_top1("step"), mean_top1("first-last")
    blind = max(map(mean_top1, ORDER_BLIND))
    frame = max(map(mean_top1, ("first-frame", "last-frame")))
    return (
        "Each clip is shown forward and backward, with opposite labels. Top-1, mean over "
        f"{SEEDS} seeds: probes that ignore the order of frames at most {blind:.1f} % (chance "
        f"between two opposites is 50 %), the best single frame {frame:.1f} %, first and last "
        f"frame together {both_ends:.1f} %, STEP {step:.1f} %: {step - frame:+.1f} points against "
        f"the best single frame, {step - both_ends:+.1f} against first and last frame."
    )
