"""What sweeps with --select chose: one row per method, whatever settings its seeds chose."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from stepcli.probe.methods.catalogue import sees_order
from stepcli.probe.runs.cells import csv_text
from stepcli.probe.runs.filters import EVERY_RUN, RunFilter
from stepcli.probe.runs.metrics import MEAN_AP
from stepcli.probe.runs.record import FILE, RunRecord, is_done, read_run
from stepcli.probe.runs.stats import FEWEST_GROUPS
from stepcli.probe.runs.table import Format, arranged
from stepcli.probe.sweeps.choice import MethodSelection, read_selection
from stepcli.runtime.errors import UsageError

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


def chosen_table(runs: Path, form: Format, keep: RunFilter = EVERY_RUN) -> str:
    """A table of every finished selection below a folder of runs, the weakest first.

    Accuracies in per cent: mean ± deviation over seeds, and the interval of the mean over seeds and
    groups of clips; below the rows, by how many held-out clips they were chosen. In json and csv
    the same cells, with those notes as the last one.

    Args:
        runs: The folder.
        form: Any but parquet.
        keep: Which methods, tasks and stores.

    Raises:
        UsageError: there is no selection, or its runs are not all there, or parquet.
    """
    if form == "parquet":
        raise UsageError(
            "--format parquet holds runs; --chosen gives table, markdown, latex, csv or json"
        )
    rows: dict[str, list[str]] = {}
    caveats: dict[str, list[str]] = {}
    scores: dict[str, float] = {}
    files = sorted(runs.glob("selection-*.json"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise UsageError(f"{runs} holds no selection; make one with stepcli sweep --select")
    for file in files:
        # Of a method that was selected twice, the later selection counts.
        for name, choice in read_selection(file).methods.items():
            if keep and not keep.takes(_first(runs, name, choice)):
                continue
            scores[name], rows[name], few = _row(runs, name, choice)
            caveats[name] = [*_caveats(choice), *([few] if few else [])]
    if not rows:
        raise UsageError(f"no selection in {runs} passes the filters; stepcli results --chosen")
    ordered = sorted(rows, key=lambda name: scores[name])
    if form in ("json", "csv"):
        return _for_scripts([[*rows[name], "; ".join(caveats[name])] for name in ordered], form)
    table = arranged(list(HEADER), [rows[name] for name in ordered], form)
    mark = "% " if form == "latex" else "- " if form == "markdown" else ""
    notes = [f"{mark}{line}" for line in _notes(ordered, caveats)]
    return "\n".join([table, *([""] if form == "markdown" else []), *notes])


def _for_scripts(rows: Sequence[Sequence[str]], form: Format) -> str:
    header = (*HEADER, "notes")
    if form == "json":
        return json.dumps([dict(zip(header, row, strict=True)) for row in rows], indent=1)
    return csv_text([header, *rows])


def _first(runs: Path, name: str, choice: MethodSelection) -> RunRecord:
    """The record of the first chosen run, which says task and store.

    Raises:
        UsageError: it is not there.
    """
    run = choice.chosen_runs[0]
    if not is_done(runs, run):
        raise UsageError(
            f"{name}: the chosen run {run} is not there; let the sweep come to its end"
        )
    return read_run(runs / run / FILE)


def _caveats(choice: MethodSelection) -> list[str]:
    """What a reader of a chosen row must know: by how much it was chosen, and what was odd."""
    said = "by an earlier version, which did not record how much was held out"
    if choice.held_out is not None:
        said = choice.held_out.said
    return [f"chosen {said}", *choice.warnings]


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


def _row(runs: Path, name: str, choice: MethodSelection) -> tuple[float, list[str], str]:
    """Mean top-1 of a method's chosen runs, its line, and why it has no interval, "" if it has."""
    # Here, since a folder without a choice needs none of it.
    from stepcli.probe.analysis.intervals import interval
    from stepcli.probe.runs.predictions import read_predictions

    names = choice.chosen_runs
    for run in names:
        if not is_done(runs, run):
            raise UsageError(
                f"{name}: the chosen run {run} is not there; let the sweep come to its end"
            )
    records = [read_run(runs / run / FILE) for run in names]
    several = any(record.several_labels for record in records)
    seeds = [read_predictions(runs / run, several=True) for run in names]
    if any(seed.clips != seeds[0].clips for seed in seeds):
        raise UsageError(f"{name}: its seeds were tested on different samples")
    top1 = [100 * record.headline for record in records]
    span = interval(np.stack([seed.correct for seed in seeds]), seeds[0].groups)
    spread = f" ± {stdev(top1):.1f}" if len(top1) > 1 else ""
    few, metric, reach = "", "", "-"
    if several:
        few, metric = f"{name}: {MEAN_AP} is no mean over clips, no interval", f"{MEAN_AP} "
    elif span.low is not None:
        reach = f"{100 * span.low:.1f} to {100 * (span.high or 0):.1f}"
    else:
        values = ", ".join(f"{group} {100 * v:.1f}" for group, v in span.by_group.items())
        few = f"{name}: fewer than {FEWEST_GROUPS} groups, no interval; top-1 by group: {values}"
    settings = [" ".join(f"{k}={v}" for k, v in each.items()) for each in choice.settings]
    return (
        fmean(top1),
        [
            name,
            "seen" if sees_order(records[0].method) else "not seen",
            str(len(records)),
            f"{metric}{fmean(top1):.1f}{spread}",
            reach,
            f"{records[0].params:,}",
            f"{fmean(record.seconds for record in records):.1f}",
            ", ".join(f"{settings.count(each)} x {each}" for each in dict.fromkeys(settings)),
        ],
        few,
    )
