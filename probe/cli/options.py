"""What the probe room's commands say alike: their shared options, and the folder of the runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from stepcli.runtime.preemption import exit_code, heed_sigterm
from stepcli.runtime.terminal import say

RUNS_VARIABLE = "STEPCLI_RUNS"

StoreOption = Annotated[
    Path | None,
    typer.Option(help="Store to read. Default: the only one below $STEPCLI_STORES (./stores)."),
]
RunsOption = Annotated[
    Path | None, typer.Option(help="Folder of the runs. Default: $STEPCLI_RUNS (./runs).")
]


# What `probe` and `sweep` say alike of the data; None in a sweep: as the file says.
SLICE_MIN_PARTS = ("clips", "groups", "classes")
JITTER = typer.Option(
    "--jitter", help="Train on a random frame of each of --clip-frames stretches, test on middles."
)
OBSERVED = typer.Option(min=0.01, max=1, help="Share of the stored frames, from the first, seen.")
VIEWS = typer.Option(min=1, help="At most so many stored training views a clip. Default: all.")
SPLIT_FILE = typer.Option(help="CSV with columns clip,split in place of the store's own splits.")
PAIRS = typer.Option(help="CSV with columns label,partner. Default: the store's own pairs.")
TRAIN_SPLIT = typer.Option(help="Split to train on. Default: train.")
TEST_SPLIT = typer.Option(help="Split to report on. Default: test.")
STRICT = typer.Option(
    "--strict", help="Refuse test clips that share groups with, or are copies of, training clips."
)
FRAME_ORDER = typer.Option(help="shuffled: train on frames in a fresh random order, test as is.")
DIRECTIONS = typer.Option(help="Of --task arrow: directions to train on; tests show both.")
MIXUP = typer.Option(min=0, help="alpha of mixup between the tokens of two clips; 0: off.")
TOKEN_DROPOUT = typer.Option(min=0, max=0.99, help="Share of tokens zeroed at each step.")
ACCUMULATE = typer.Option(min=1, help="Parts that a batch is worked on in: less memory.")
PRECISION = typer.Option(help="Of products with tokens; all else stays float32.")
TRACK = typer.Option(help="Copy losses and results to tensorboard, wandb, mlflow (a,b).")


def tune_early() -> None:
    """Let OpenMP threads sleep, not spin, while they wait, and keep freed memory: both before torch
    is imported.

    Where other programs use the cores too, a spinning thread holds up the one it waits for; a step
    was two to four times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Before libraries start threads: glibc settles then how many places it allocates from.
    from stepcli.runtime.memory import keep_freed_memory

    keep_freed_memory()


def runs_folder(given: Path | None) -> Path:
    """Where runs are kept."""
    return given or Path(os.environ.get(RUNS_VARIABLE) or "runs")


@contextmanager
def resumable() -> Iterator[None]:
    """End on Ctrl-C and SIGTERM with a line that says what is kept, and the exit code for it."""
    heed_sigterm()
    try:
        yield
    except KeyboardInterrupt as interrupt:
        say(
            "interrupted: finished runs are kept; the same command goes on from the last epoch "
            "that was saved",
            err=True,
        )
        raise typer.Exit(exit_code(interrupt)) from interrupt


def slice_minimum(text: str) -> dict[str, int]:
    """The parts of --slice-min clips=30,groups=5,classes=8 that are given.

    Raises:
        UsageError: a part is none of these, or not a whole number above 0.
    """
    from stepcli.runtime.errors import UsageError

    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in SLICE_MIN_PARTS or not value.isdecimal() or int(value) < 1:
            raise UsageError(
                f"--slice-min {part!r}: expected clips=N, groups=N or classes=N, N above 0, "
                "e.g. --slice-min clips=30,groups=5"
            )
        found[name] = int(value)
    return found
