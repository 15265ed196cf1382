"""`stepcli demo`: the whole way on the bundled clips, in the steps a user would take.

The arrow of time on opposite actions (open/close, push/pull): every clip is shown forward and
backward, and the backward clip takes the opposite label. A probe that does not see the order of the
frames cannot score above 50 %.
"""

import shlex
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from stepcli.cache.errors import StepcliError
from stepcli.probe import sweep_commands

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

    Offline, two minutes on two cores. A second call finds the store and the runs done.
    """
    started = time.monotonic()
    store, runs = out / "store", out / "runs"
    # Extraction wants other threads than training: a process of its own.
    _extract(EXTRACTION, f"--store {shlex.quote(str(store))}")
    methods = ",".join((*CONTROLS, *ORDER_BLIND, "step"))
    place = f"--store {shlex.quote(str(store))} --runs {shlex.quote(str(runs))}"
    _say(f"sweep --method {methods} --seeds {SEEDS} {SCHEDULE} {place}")
    sweep_commands.sweep(
        method=methods,
        seeds=SEEDS,
        task="arrow",
        clip_frames=8,
        temporal_crop=True,
        store=[store],
        runs=runs,
    )
    from stepcli.probe.results.runs import read_runs
    from stepcli.probe.results.table import render, terminal_width

    _say(f"results --runs {shlex.quote(str(runs))}")
    rows = read_runs(runs)
    typer.echo(render(rows, "table", width=terminal_width()))
    typer.echo(f"\n{_verdict(rows)}")
    typer.echo(f"(the demo took {time.monotonic() - started:.0f} s)")


def _say(line: str) -> None:
    """Show a command as a user would type it."""
    typer.secho(f"\n$ stepcli {line}", bold=True)


def _extract(*words: str) -> None:
    line = " ".join(words)
    _say(line)
    command = [sys.executable, "-m", "stepcli.cli", *shlex.split(line)]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise DemoFailed(f"`stepcli {line}` ended with exit code {code}; its message is above")


def _verdict(rows: list[dict[str, Any]]) -> str:
    """Say in one sentence what the runs show, from their numbers alone."""

    def mean_top1(method: str) -> float:
        return 100 * fmean(row["top1"] for row in rows if row["method"] == method)

    step = mean_top1("step")
    blind = max(map(mean_top1, ORDER_BLIND))
    frame = max(map(mean_top1, ("first-frame", "last-frame")))
    return (
        f"Shown forward and backward, opposite actions look alike to probes that ignore the order "
        f"of frames (at most {blind:.1f} %, where chance between the two is 50 %); the best single "
        f"frame gives away {frame:.1f} %, first and last frame together "
        f"{mean_top1('first-last'):.1f} %, and STEP, which sees the order of all frames, reaches "
        f"{step:.1f} %."
    )
