"""What sweeps with --select chose: one row a method, whatever settings its seeds chose."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from stepcli.probe.analysis.summary import interval
from stepcli.probe.methods.registry import methods
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.record import FILE, is_done, read_run
from stepcli.probe.runs.stats import FEWEST_GROUPS
from stepcli.probe.runs.table import Format, arranged
from stepcli.runtime.errors import UsageError
from stepcli.runtime.json_files import read_json

HEADER = (
    "method",
    "frames' order",
    "seeds",
    "top1",
    "95 %",
    "params",
    "s/run",
    "chosen",
)


def chosen_table(runs: Path, form: Format) -> str:
    """A table of every finished selection below a folder of runs, the weakest first.

    Accuracies in per cent: mean ± deviation over seeds, and the interval of the mean over seeds and
    groups of clips; below the rows, by how many held-out clips they were chosen. `form` is table,
    markdown or latex.

    Raises:
        UsageError: there is no selection, or its runs are not all there, or another form.
    """
    if form not in ("table", "markdown", "latex"):
        raise UsageError(f"--chosen makes a table, markdown or latex, not {form}")
    rows: dict[str, list[str]] = {}
    caveats: dict[str, list[str]] = {}
    scores: dict[str, float] = {}
    files = sorted(runs.glob("selection-*.json"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise UsageError(f"{runs} holds no selection; make one with stepcli sweep --select")
    for file in files:
        # Of a method that was selected twice, the later selection counts.
        for name, choice in _choices(file).items():
            scores[name], rows[name], few = _row(runs, name, choice)
            caveats[name] = [*_caveats(choice), *([few] if few else [])]
    ordered = sorted(rows, key=lambda name: scores[name])
    table = arranged(list(HEADER), [rows[name] for name in ordered], form)
    mark = "% " if form == "latex" else "- " if form == "markdown" else ""
    notes = [f"{mark}{line}" for line in _notes(ordered, caveats)]
    return "\n".join([table, *([""] if form == "markdown" else []), *notes])


def _caveats(choice: dict[str, Any]) -> list[str]:
    """What a reader of a chosen row must know: by how much it was chosen, and what was odd."""
    held, warnings = choice.get("held_out"), choice.get("warnings")
    said = held.get("said") if isinstance(held, dict) else None
    if not isinstance(said, str):
        said = "by an earlier version, which did not record how much was held out"
    odd = [str(line) for line in warnings] if isinstance(warnings, list) else []
    return [f"chosen {said}", *odd]


def _notes(names: Sequence[str], caveats: dict[str, list[str]]) -> list[str]:
    """Each caveat once, with the methods that it is about where not all share it."""
    about: dict[str, list[str]] = {}
    for name in names:
        for line in caveats[name]:
            about.setdefault(line, []).append(name)
    return [
        line if len(mine) == len(names) or line.startswith(f"{mine[0]}:") else _of(mine, line)
        for line, mine in about.items()
    ]


def _of(names: Sequence[str], line: str) -> str:
    return f"{', '.join(names)}: {line}"


def _choices(file: Path) -> dict[str, dict[str, Any]]:
    """What a selection says of each method.

    Raises:
        UsageError: the file is not what a sweep writes.
    """
    found: Any = read_json(file, dict, links=False).get("methods")
    for name, choice in found.items() if isinstance(found, dict) else [("", None)]:
        said = choice if isinstance(choice, dict) else {}
        runs, settings = said.get("chosen_runs"), said.get("settings")
        lists = isinstance(runs, list) and isinstance(settings, list) and runs
        if not lists or not all(isinstance(run, str) and "/" not in run for run in runs or ()):
            raise UsageError(f"{file}: {name}: no runs chosen; make the selection again")
        if not all(isinstance(each, dict) for each in settings or ()):
            raise UsageError(f"{file}: {name}: no settings; make the selection again")
    chosen: dict[str, dict[str, Any]] = found
    return chosen


def _row(runs: Path, name: str, choice: dict[str, Any]) -> tuple[float, list[str], str]:
    """Mean top-1 of a method's chosen runs, its line, and why it has no interval, "" if it has."""
    names: Sequence[str] = choice["chosen_runs"]
    for run in names:
        if not is_done(runs, run):
            raise UsageError(
                f"{name}: the chosen run {run} is not there; let the sweep come to its end"
            )
    records = [read_run(runs / run / FILE) for run in names]
    seeds = [read_predictions(runs / run) for run in names]
    if any(seed.clips != seeds[0].clips for seed in seeds):
        raise UsageError(f"{name}: its seeds were tested on different samples")
    top1 = [100 * record.top1 for record in records]
    span = interval(np.stack([seed.correct for seed in seeds]), seeds[0].groups)
    spread = f" ± {stdev(top1):.1f}" if len(top1) > 1 else ""
    few = ""
    if span.by_group:
        values = ", ".join(f"{group} {100 * v:.1f}" for group, v in span.by_group.items())
        few = f"{name}: fewer than {FEWEST_GROUPS} groups, no interval; top-1 by group: {values}"
    settings = [" ".join(f"{k}={v}" for k, v in each.items()) for each in choice["settings"]]
    return (
        fmean(top1),
        [
            name,
            "seen" if methods().sees_order(records[0].method) else "not seen",
            str(len(records)),
            f"{fmean(top1):.1f}{spread}",
            "-" if span.low is None else f"{100 * span.low:.1f} to {100 * (span.high or 0):.1f}",
            f"{records[0].params:,}",
            f"{fmean(record.seconds for record in records):.1f}",
            ", ".join(f"{settings.count(each)} x {each}" for each in dict.fromkeys(settings)),
        ],
        few,
    )
