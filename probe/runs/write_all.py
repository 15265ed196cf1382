"""Write what was trained, all of it: what the runs' disk does not take goes to another one."""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stepcli.probe.config import RunConfig
from stepcli.probe.data.tasks import Task
from stepcli.probe.runs.runs import Source, write_run
from stepcli.probe.training.train import Trained
from stepcli.runtime.errors import StoreError

WRITERS = 4
"""Runs that are written at once: most of the time goes into waiting for the disk."""


def write_all(
    runs: Path,
    every: Sequence[Trained],
    task_of: Callable[[RunConfig], Task],
    source: Source,
    written: Callable[[dict[str, Any]], None],
) -> None:
    """Write the runs of a pass side by side.

    Args:
        runs: Folder of the runs.
        every: What was trained.
        task_of: On what each was.
        source: Where its tokens came from.
        written: Called with each run's record, in the order of `every`.

    Raises:
        StoreError: not all could be written there; says where the others are.
    """

    def write(trained: Trained) -> dict[str, Any] | StoreError:
        try:
            return write_run(runs, trained, task_of(trained.config), source)
        except StoreError as error:
            return error

    refused: list[Trained] = []
    first: StoreError | None = None
    pool = ThreadPoolExecutor(WRITERS)
    try:
        for trained, outcome in zip(every, pool.map(write, every), strict=True):
            if isinstance(outcome, StoreError):
                refused.append(trained)
                first = first or outcome
            else:
                written(outcome)
    finally:
        # Whatever came: runs that are being written are whole, the others have not begun.
        pool.shutdown(cancel_futures=True)
    if first is not None:
        raise StoreError(f"{first}; {_elsewhere(runs, refused, task_of, source)}") from first


def _elsewhere(
    runs: Path, refused: Sequence[Trained], task_of: Callable[[RunConfig], Task], source: Source
) -> str:
    """Write runs to a folder for temporary files; says what came of it."""
    kept = 0
    try:
        folder = Path(tempfile.mkdtemp(prefix="stepcli-runs-"))
        for trained in refused:
            write_run(folder, trained, task_of(trained.config), source)
            kept += 1
    except (OSError, StoreError) as error:
        lost = f"{len(refused) - kept} trained runs are lost ({error})"
        return f"{lost}, {kept} are in {folder}" if kept else lost
    return f"before that, move the {kept} runs that were trained from {folder} to {runs}"
