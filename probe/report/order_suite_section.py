"""The order suite in the report: one section per store, with its table, its picture and words."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from shlex import quote

import numpy as np

from stepcli.probe.analysis.order_suite import Suite
from stepcli.probe.analysis.order_suite_words import conclusions
from stepcli.probe.report.commands import near
from stepcli.probe.report.style import Figure, canvas, finish, shortened
from stepcli.probe.report.tables import ReportTable

TABLE = "order-suite"


@dataclass(frozen=True)
class SuiteSection:
    """What the page shows of one suite."""

    suite: Suite

    def parts(self) -> Iterator[Figure | ReportTable]:
        """Table and picture."""
        yield self._table()
        yield self._picture()

    def words(self) -> dict[str, object]:
        """The page's other fields of a section."""
        first, *rest = conclusions(self.suite)
        place = self.suite.configurations[0].first.store or "STORE"
        return {
            "title": self.suite.title,
            "headline": " ".join(rest[:3]),
            "verdict": rest,
            "warnings": [],
            "protocol": f"{first} The sections below have each task by itself.",
            "versions": [
                f"report: stepcli {version('stepcli')}",
                f"tokens: fingerprint {self.suite.fingerprint}",
            ],
            "commands": [f"stepcli sweep recipes/order-suite.yaml --store {quote(near(place))}"],
        }

    def _table(self) -> ReportTable:
        return ReportTable(
            TABLE,
            "Methods by kinds of order",
            f"{conclusions(self.suite)[0]} Mean ± deviation over seeds.",
            tuple(self.suite.header()),
            tuple(tuple(row) for row in self.suite.table()),
        )

    def _picture(self) -> Figure:
        suite = self.suite
        shape = (len(suite.rows), len(suite.tasks))
        values = np.full(shape, np.nan)
        for i, row in enumerate(suite.rows):
            for j, task in enumerate(suite.tasks):
                if task in row.cells:
                    values[i, j] = 100 * row.cells[task].mean
        drawn, axes = canvas(1.0 + 0.27 * len(suite.rows))
        axes.imshow(values, cmap="Blues", vmin=50, vmax=125, aspect="auto")
        axes.grid(visible=False)
        for i, row in enumerate(suite.rows):
            for j, task in enumerate(suite.tasks):
                if task not in row.cells:
                    continue
                cell = row.cells[task]
                text = f"{100 * cell.mean:.1f}{'°' if cell.at_null else ''}"
                look = "#666666" if cell.at_null else "black"
                axes.text(j, i, text, ha="center", va="center", fontsize=8, color=look)
        axes.set_xticks(range(shape[1]), list(suite.tasks), fontsize=8)
        axes.set_yticks(range(shape[0]), shortened([row.label for row in suite.rows], 28))
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        edges = [
            i - 0.5 for i in range(1, shape[0]) if suite.rows[i].family != suite.rows[i - 1].family
        ]
        axes.hlines(edges, -0.5, shape[1] - 0.5, color="black", lw=0.8)
        said = "; ".join(
            f"{row.label}: " + ", ".join(f"{task} {cell.text}" for task, cell in row.cells.items())
            for row in suite.rows
        )
        return finish(
            drawn,
            TABLE,
            "What kind of order each method sees",
            "Forced choice, per cent; grey with °: at the null of 50 %. Lines separate controls, "
            "order-blind probes, linear maps of time, other heads, imported models and STEP.",
            f"Forced choice by task, per cent. {said}.",
        )
