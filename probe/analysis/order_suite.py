"""The order suite's runs as one table: methods by kinds of order, and what it shows in words.

The number of a cell is the forced choice over samples: of the logits of a sample's class and of its
partner the larger one decides, a tie is half right. Its null is 50 % on every task, for probes that
ignore order exactly.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.config.task import ORDER_SUITE
from stepcli.probe.methods.registry import methods
from stepcli.probe.runs.configurations import Configuration, configurations
from stepcli.probe.runs.filters import EVERY_RUN, RunFilter
from stepcli.probe.runs.labels import SHORT, labels
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.runs.stats import accuracy_interval
from stepcli.runtime.errors import UnknownName
from stepcli.runtime.settings import JsonObject

Family = Literal["control", "order-blind", "linear in time", "other head", "imported", "step"]
FAMILIES: tuple[Family, ...] = get_args(Family)
Finding = Literal["exact", "null", "above", "below", "no interval"]
"""Of a value: exactly 50 % for each draw; 50 % in its interval; its interval above or below 50 %;
not exact, and groups too few for an interval."""
CONTROLS = ("duration", "first-frame", "middle-frame", "last-frame", "first-last")
LINEAR = ("early-late", "concat", "concat-lowrank", "dct", "difference")
NULL = 0.5


@dataclass(frozen=True)
class SuiteCell:
    """One method on one task; fractions of 1."""

    right: NDArray[np.float64]
    """[seeds, n]: 1 where the forced choice was right."""
    groups: tuple[str, ...]
    samples: tuple[tuple[str, int, bool], ...]
    """Clip, draw and direction of each of the n."""

    mean: float
    low: float | None
    """Of the 95 % interval over seeds and groups; None with too few groups."""
    high: float | None

    @property
    def by_seed(self) -> list[float]:
        """Mean of each seed."""
        return [float(each) for each in self.right.mean(axis=1)]

    @property
    def finding(self) -> Finding:
        """What is shown of it; nothing without an interval, unless it is exactly at the null."""
        if self._is_exact():
            return "exact"
        if self.low is None or self.high is None:
            return "no interval"
        if self.low <= NULL <= self.high:
            return "null"
        return "above" if self.low > NULL else "below"

    def _is_exact(self) -> bool:
        """Whether each seed has half of each draw right, as a probe has that ignores order."""
        number = {draw: i for i, draw in enumerate(dict.fromkeys(s[:2] for s in self.samples))}
        index = np.array([number[sample[:2]] for sample in self.samples])
        shown = np.bincount(index)
        return all(np.allclose(np.bincount(index, row) / shown, NULL) for row in self.right)

    @property
    def at_null(self) -> bool:
        """Whether it is exactly 50 %, or its interval contains 50 %."""
        return self.finding in ("exact", "null")

    @property
    def short(self) -> str:
        """Per cent, mean over seeds, with ° at the null."""
        return f"{100 * self.mean:.1f}{'°' if self.at_null else ''}"

    @property
    def text(self) -> str:
        """Per cent, mean ± deviation over seeds, with ° at the null."""
        each = [100 * value for value in self.by_seed]
        spread = f" ± {stdev(each):.1f}" if len(each) > 1 else ""
        return f"{100 * self.mean:.1f}{spread}{'°' if self.at_null else ''}"


@dataclass(frozen=True)
class SuiteRow:
    """One method with one group of settings."""

    label: str
    method: str
    family: Family
    cells: dict[str, SuiteCell]
    """By task; tasks without runs are missing."""


@dataclass(frozen=True)
class Suite:
    """All rows of one store and split, in the order of the families."""

    dataset: str
    backbone: str
    split: str
    fingerprint: str
    tasks: tuple[str, ...]
    rows: tuple[SuiteRow, ...]
    configurations: tuple[Configuration, ...]

    @property
    def title(self) -> str:
        """E.g. "The order suite on openclose (test), mobilenet_v2-bundled-320"."""
        title = f"The order suite on {self.dataset} ({self.split})"
        return f"{title}, {self.backbone}" if self.backbone else title

    def records(self) -> list[dict[str, str | float | int | bool | None]]:
        """One entry per method and task, fractions of 1; `at_null` is None without an interval."""
        return [
            {
                "dataset": self.dataset,
                "split": self.split,
                "method": row.label,
                "kind": row.family,
                "task": task,
                "seeds": len(cell.right),
                "forced_choice": cell.mean,
                "low": cell.low,
                "high": cell.high,
                "at_null": None if cell.finding == "no interval" else cell.at_null,
            }
            for row in self.rows
            for task, cell in row.cells.items()
        ]

    def header(self) -> list[str]:
        """Of the table."""
        return ["method", "kind", *self.tasks]

    def table(self, *, spread: bool = True) -> list[list[str]]:
        """One row per method: its name, its kind, a cell per task; with or without deviations."""

        def text(cell: SuiteCell | None) -> str:
            if cell is None:
                return "-"
            return cell.text if spread else cell.short

        return [
            [row.label, row.family, *(text(row.cells.get(task)) for task in self.tasks)]
            for row in self.rows
        ]


def order_suites(runs: Path, keep: RunFilter = EVERY_RUN) -> list[Suite]:
    """Every store and split of a folder of runs that was tested on two or more of the tasks.

    Args:
        runs: The folder.
        keep: Which runs of it.

    Raises:
        UsageError: there is no run, or none that passes, or one cannot be read.
    """
    found: dict[tuple[str, str, str], list[Configuration]] = {}
    for each in configurations(runs, keep=keep):
        first = each.first
        if first.task in ORDER_SUITE and first.pairs:
            found.setdefault((first.dataset, first.fingerprint, first.split), []).append(each)
    return [
        _suite(members)
        for _, members in sorted(found.items())
        if len({each.first.task for each in members}) > 1
    ]


def _suite(members: Sequence[Configuration]) -> Suite:
    present = {each.first.task for each in members}
    names = _names(members)
    cells: dict[str, dict[str, SuiteCell]] = {}
    for name, each in zip(names, members, strict=True):
        cells.setdefault(name, {})[each.first.task] = _cell(each)
    first_of = dict(zip(names, members, strict=True))
    rows = [
        SuiteRow(name, first_of[name].first.method, _family(first_of[name]), by_task)
        for name, by_task in cells.items()
    ]
    rows.sort(key=lambda row: (FAMILIES.index(row.family), _mean(row), row.label))
    first = members[0].first
    return Suite(
        first.dataset,
        first.backbone,
        first.split,
        first.fingerprint,
        tuple(task for task in ORDER_SUITE if task in present),
        tuple(rows),
        tuple(members),
    )


def _names(members: Sequence[Configuration]) -> list[str]:
    """Of the row of each member. An imported model has one row for all its files, one for each
    task, and never the row of a trained probe of its name."""
    trained = [each.first for each in members if not each.first.imported]
    own = dict(zip((run.run for run in trained), labels(trained), strict=True))
    imported = [each.first for each in members if each.first.imported]
    several = Counter((run.method, run.task) for run in imported)
    several_seeds = Counter((run.method, run.task, run.seed) for run in imported)

    def name(run: RunRecord) -> str:
        if run.imported is None:
            return own[run.run]
        text = f"{run.method} (imported"
        if several[run.method, run.task] > 1:
            text += f", seed {run.seed}"
        if several_seeds[run.method, run.task, run.seed] > 1:
            text += f", {run.imported.file} {run.imported.sha256[:SHORT]}"
        return f"{text})"

    return [name(each.first) for each in members]


def _mean(row: SuiteRow) -> float:
    return fmean(cell.mean for cell in row.cells.values())


def _cell(found: Configuration) -> SuiteCell:
    seeds = found.predictions()
    partner = np.full(len(found.classes), -1)
    for a, b in reversed(found.pairs()):
        partner[a], partner[b] = b, a
    labels = seeds[0].labels
    rows = np.flatnonzero(partner[labels] >= 0)
    own, other = labels[rows], partner[labels[rows]]
    margins = [said.logits[rows, own].astype(float) - said.logits[rows, other] for said in seeds]
    right = np.stack([np.where(each == 0, 0.5, each > 0) for each in margins])
    names, groups = seeds[0].samples, tuple(seeds[0].groups[row] for row in rows)
    interval = accuracy_interval(right, groups)
    return SuiteCell(
        right,
        groups,
        tuple(names[row] for row in rows),
        interval.mean,
        interval.low,
        interval.high,
    )


def _family(found: Configuration) -> Family:
    if found.first.imported:
        return "imported"
    options = found.first.config.get("options")
    return family_of(found.first.method, options if isinstance(options, dict) else {})


def family_of(method: str, options: JsonObject) -> Family:
    """The kind of a trained method in tables of the order suite.

    Args:
        method: its name.
        options: those of the run; without a frame encoding a method may see no order.
    """
    if method == "step":
        return "step"
    if method in CONTROLS:
        return "control"
    if method in LINEAR:
        return "linear in time"
    encoding = options.get("pe")
    try:
        aware = methods().sees_order(method) if encoding is None else encoding != "none"
    except UnknownName:
        aware = True
    return "other head" if aware else "order-blind"
