"""Runs of versions that did not record which labels, splits and groups a run was trained on."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from stepcli.probe.data.tasks import Task
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.record import FILE, read_run
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted


def fits(folder: Path, task: Task) -> bool:
    """Whether a run may be of a task as the store's tables have it now.

    It says which test clips it had, their labels, the classes and how many clips it was trained on;
    a training clip whose label has changed since cannot be seen.

    Args:
        folder: The run's.
        task: As it is now.
    """
    record = read_run(folder / FILE)
    if record.imported or record.classes != list(task.classes):
        return False
    if record.train_clips not in (0, task.train_clips):  # 0 where a version did not say
        return False
    try:
        said = read_predictions(folder, several=True)
    except UsageError:
        return True  # its predictions are gone: as far as can be seen
    tested = task.test
    if said.clips != tuple(task.clips[i] for i in tested.clip):
        return False
    relevant = task.relevant(tested)
    if relevant is None or said.relevant is None:
        return said.relevant is relevant and np.array_equal(said.labels, tested.label)
    return np.array_equal(said.relevant, relevant)


def unrecorded_tables(runs: Path, names: Collection[str]) -> str:
    """A note on finished runs that do not say what they were trained on; "" where all do.

    Args:
        runs: Their folder.
        names: Of runs, also of such that are not done.
    """
    done = (runs / name / FILE for name in names)
    count = sum(not read_run(path).tables for path in done if path.is_file())
    if not count:
        return ""
    were = (
        "was trained by an earlier version, which"
        if count == 1
        else ("were trained by an earlier version, which")
    )
    return (
        f"note: {counted(count, 'run')} {were} did not record the labels of the training clips; if "
        "you have changed some since, delete these runs (stepcli runs rm) and train again"
    )
