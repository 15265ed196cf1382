"""Finished runs as a list, and one of them in detail."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from stepcli.probe.config import TaskConfig
from stepcli.probe.runs.cells import csv_text
from stepcli.probe.runs.filters import store_words
from stepcli.probe.runs.labels import SHORT
from stepcli.probe.runs.metrics import MEAN_AP
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.runs.table import Format, arranged, fitted
from stepcli.runtime.words import counted, sized

HEADER = ("run", "method", "task", "seed", "split", "top1", "store", "finished")


def run_list(runs: Sequence[RunRecord], form: Format, width: int | None) -> str:
    """One line for each run.

    Args:
        runs: The runs.
        form: table and markdown (per cent), json and csv (fractions of 1).
        width: Columns of the terminal; None: as wide as needed.
    """
    rows = [_values(run) for run in runs]
    if form == "json":
        return json.dumps([dict(zip(HEADER, row, strict=True)) for row in rows], indent=1)
    if form == "csv":
        return csv_text([HEADER, *rows])
    cells = [[_cell(value) for value in row] for row in rows]
    if form == "table" and width is not None:
        # The name says method, task and seed again.
        return fitted(HEADER, cells, width, ("finished", "method", "task", "seed", "split"))
    return arranged(HEADER, cells, form)


def _cell(value: JsonValue) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if isinstance(value, float) else str(value)


def _values(run: RunRecord) -> list[JsonValue]:
    store = store_words(run)[0]
    return [
        run.run,
        run.method,
        run.task,
        run.seed,
        tested_on(run),
        None if run.several_labels else run.top1,
        store,
        run.finished[:16],
    ]


def tested_on(run: RunRecord) -> str:
    """The split, with the group that was left out: "leave-one-group-out, s1"."""
    return run.tested_on if run.held_group is None else f"{run.tested_on}, {run.held_group}"


def describe_run(folder: Path, run: RunRecord) -> list[str]:
    """What a run is, for a terminal.

    Args:
        folder: The run's.
        run: Its record.
    """
    usual = TaskConfig().model_dump(mode="json")
    task = {
        name: value
        for name, value in run.task_settings.items()
        if name not in ("name", "pairs") and value != usual.get(name)
    }
    options = run.config.get("options")
    recipe = run.config.get("recipe")
    scores = {"top-1": run.top1, "mean class": run.mean_class, "forced choice": run.forced_choice}
    if run.several_labels:
        scores = {MEAN_AP: run.mean_ap}
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    facts = {
        "folder": f"{folder} ({sized(size)})",
        "method": f"{run.method}{_settings(options)}",
        "task": f"{run.task}{_settings(task)}",
        "training": _settings(recipe).strip(" ()"),
        "seed": str(run.seed),
        "tested on": f"split {tested_on(run)}, {counted(run.test_samples, 'sample')}",
        "results": ", ".join(
            f"{name} {100 * value:.1f} %" for name, value in scores.items() if value is not None
        ),
        "trained on": f"{counted(run.train_clips, 'clip')} of "
        f"{counted(len(run.classes), 'class', 'classes')}, "
        f"{counted(run.params, 'parameter')}, {run.seconds:.1f} s",
        "store": f"{run.store or 'not known'} (fingerprint {run.fingerprint[:16]})",
        "labels": run.tables[:SHORT] or "not recorded (an earlier version)",
        "dataset": f"{run.dataset}, backbone {run.backbone}",
        "finished": run.finished,
        "files": ", ".join(path.name for path in files),
    }
    lines = [f"{run.run}"]
    lines += [f"  {name + ':':<11} {value}" for name, value in facts.items() if value]
    return lines + [f"  warning:    {text}" for text in run.warnings]


def _settings(values: JsonValue) -> str:
    """Settings in brackets; "" where there are none."""
    if not isinstance(values, dict):
        return ""
    said = ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
    return f" ({said})" if said else ""
