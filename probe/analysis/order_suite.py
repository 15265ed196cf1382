"""The order suite's runs as one table: methods by kinds of order, and what it shows in words.

The number of a cell is the forced choice over samples: of the logits of a sample's class and of its
partner the larger one decides, a tie is half right. Its null is 50 % on every task, for probes that
ignore order exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.config.task import ORDER_SUITE
from stepcli.probe.methods.registry import methods
from stepcli.probe.runs.configurations import Configuration, configurations
from stepcli.probe.runs.stats import accuracy_interval
from stepcli.runtime.errors import UnknownName

Family = Literal["control", "order-blind", "linear in time", "other head", "step"]
FAMILIES: tuple[Family, ...] = ("control", "order-blind", "linear in time", "other head", "step")
CONTROLS = ("duration", "first-frame", "middle-frame", "last-frame", "first-last")
LINEAR = ("early-late", "concat", "concat-lowrank", "dct", "difference")
NULL = 0.5
EXACT = 5e-4
"""Distance from the null that shows as 50.0 %."""


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
    def at_null(self) -> bool:
        """Whether it cannot be told from 50 %."""
        if abs(self.mean - NULL) < EXACT:
            return True
        return self.low is not None and self.high is not None and self.low <= NULL <= self.high

    @property
    def sees(self) -> bool:
        """Whether it is above 50 %."""
        return not self.at_null and self.mean > NULL

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
        """One entry per method and task, fractions of 1."""
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
                "at_null": cell.at_null,
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


def order_suites(runs: Path) -> list[Suite]:
    """Every store and split of a folder of runs that was tested on two or more of the tasks.

    Raises:
        UsageError: there is no run, or one cannot be read.
    """
    found: dict[tuple[str, str, str], list[Configuration]] = {}
    for each in configurations(runs):
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
    cells: dict[tuple[str, str], dict[str, SuiteCell]] = {}
    for each in members:
        cells.setdefault((each.label, each.first.method), {})[each.first.task] = _cell(each)
    first_of = {each.label: each for each in members}
    rows = [
        SuiteRow(label, method, _family(first_of[label]), by_task)
        for (label, method), by_task in cells.items()
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
    method = found.first.method
    if method == "step":
        return "step"
    if method in CONTROLS:
        return "control"
    if method in LINEAR:
        return "linear in time"
    options = found.first.config.get("options")
    encoding = options.get("pe") if isinstance(options, dict) else None
    try:
        aware = methods().sees_order(method) if encoding is None else encoding != "none"
    except UnknownName:
        aware = True
    return "other head" if aware else "order-blind"
