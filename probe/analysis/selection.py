"""What sweeps with --select chose: one row per method, whatever settings its seeds chose."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
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
from stepcli.runtime.settings import JsonObject

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
    groups of clips; below the rows, by how many held-out clips they were chosen. json and csv have
    numbers, accuracies as fractions of 1, and those notes as the last field.

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
    rows: dict[str, _Chosen] = {}
    caveats: dict[str, list[str]] = {}
    files = sorted(runs.glob("selection-*.json"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise UsageError(f"{runs} holds no selection; make one with stepcli sweep --select")
    for file in files:
        # Of a method that was selected twice, the later selection counts.
        for name, choice in read_selection(file).methods.items():
            if keep and not keep.takes(_first(runs, name, choice)):
                continue
            rows[name] = _row(runs, name, choice)
            few = rows[name].no_interval
            caveats[name] = [*_caveats(choice), *([few] if few else [])]
    if not rows:
        raise UsageError(f"no selection in {runs} passes the filters; stepcli results --chosen")
    ordered = sorted(rows, key=lambda name: rows[name].mean)
    if form in ("json", "csv"):
        return _for_scripts([rows[name].fields(caveats[name]) for name in ordered], form)
    table = arranged(list(HEADER), [rows[name].cells() for name in ordered], form)
    mark = "% " if form == "latex" else "- " if form == "markdown" else ""
    notes = [f"{mark}{line}" for line in _notes(ordered, caveats)]
    return "\n".join([table, *([""] if form == "markdown" else []), *notes])


def _for_scripts(rows: Sequence[JsonObject], form: Format) -> str:
    if form == "json":
        return json.dumps(rows, indent=1)
    cells = ([json.dumps(v) if isinstance(v, list) else v for v in row.values()] for row in rows)
    return csv_text([tuple(rows[0]), *cells])


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


@dataclass(frozen=True)
class _Chosen:
    """One method's chosen runs."""

    method: str
    sees_order: bool
    metric: str
    """"top1", or "mAP"."""
    values: tuple[float, ...]
    """Of each seed, fractions of 1."""
    low: float | None
    high: float | None
    params: int
    seconds: float
    settings: tuple[str, ...]
    """Of each seed: "lr=0.001 heads=8"."""
    no_interval: str
    """Why it has no interval; "" if it has."""

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def deviation(self) -> float | None:
        return stdev(self.values) if len(self.values) > 1 else None

    def cells(self) -> list[str]:
        """`HEADER`, accuracies in per cent."""
        spread = "" if self.deviation is None else f" ± {100 * self.deviation:.1f}"
        metric = "" if self.metric == "top1" else f"{self.metric} "
        known = self.low is not None and self.high is not None
        reach = f"{100 * (self.low or 0):.1f} to {100 * (self.high or 0):.1f}" if known else "-"
        return [
            self.method,
            "seen" if self.sees_order else "not seen",
            str(len(self.values)),
            f"{metric}{100 * self.mean:.1f}{spread}",
            reach,
            f"{self.params:,}",
            f"{self.seconds:.1f}",
            ", ".join(
                f"{self.settings.count(each)} x {each}" for each in dict.fromkeys(self.settings)
            ),
        ]

    def fields(self, notes: Sequence[str]) -> JsonObject:
        """The same for scripts."""
        return {
            "method": self.method,
            "sees_order": self.sees_order,
            "seeds": len(self.values),
            "metric": self.metric,
            "mean": self.mean,
            "deviation": self.deviation,
            "low": self.low,
            "high": self.high,
            "params": self.params,
            "seconds": self.seconds,
            "chosen": list(self.settings),
            "notes": "; ".join(notes),
        }


def _row(runs: Path, name: str, choice: MethodSelection) -> _Chosen:
    """What a method's chosen runs say."""
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
    span = interval(np.stack([seed.correct for seed in seeds]), seeds[0].groups)
    few = ""
    if several:
        few = f"{name}: {MEAN_AP} is no mean over clips, no interval"
    elif span.low is None:
        values = ", ".join(f"{group} {100 * v:.1f}" for group, v in span.by_group.items())
        few = f"{name}: fewer than {FEWEST_GROUPS} groups, no interval; top-1 by group: {values}"
    return _Chosen(
        name,
        sees_order(records[0].method),
        MEAN_AP if several else "top1",
        tuple(record.headline for record in records),
        None if several else span.low,
        None if several else span.high,
        records[0].params,
        fmean(record.seconds for record in records),
        tuple(" ".join(f"{k}={v}" for k, v in each.items()) for each in choice.settings),
        few,
    )
