"""Several data sets in the report: the table of `stepcli results --across` as a section."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from shlex import quote

from stepcli.probe.analysis.across import Across, across
from stepcli.probe.analysis.across_names import dataset_of
from stepcli.probe.analysis.across_text import across_header, across_notes, across_rows
from stepcli.probe.report.commands import near
from stepcli.probe.report.tables import ReportTable
from stepcli.probe.runs.record import read_runs
from stepcli.runtime.words import counted

TABLE = "across"


@dataclass(frozen=True)
class AcrossSection:
    """What the page shows of runs on several data sets."""

    found: Across
    runs: Path

    def parts(self) -> Iterator[ReportTable]:
        """The table."""
        yield ReportTable(
            TABLE,
            "Methods by data sets",
            "Per cent, mean ± deviation over seeds (over splits or groups where there are "
            "several); in brackets the rank among the methods that every ranked column has.",
            tuple(across_header(self.found)),
            tuple(map(tuple, across_rows(self.found))),
        )

    def words(self) -> dict[str, object]:
        """The page's other fields of a section."""
        ranks = self.found.ranks
        best = next(iter(self.found.rows))
        headline = f"{counted(len(self.found.columns), 'column')} of methods by data sets"
        if ranks:
            headline = f"lowest mean rank: {best} ({ranks[best].mean:.2f} of {len(ranks)} methods)"
            if self.found.intervals:
                headline += f", first in {100 * ranks[best].first:.0f} % of the draws"
        return {
            "title": "All data sets together",
            "headline": headline,
            "verdict": list(across_notes(self.found)),
            "warnings": [],
            "protocol": "The sections below have each data set by itself.",
            "versions": [f"report: stepcli {version('stepcli')}"],
            "commands": [f"stepcli results --runs {quote(near(str(self.runs)))} --across"],
        }


def across_sections(runs: Path) -> list[AcrossSection]:
    """A section for a folder of runs on two data sets or more; otherwise none."""
    records = read_runs(runs)
    if len({dataset_of(run) for run in records}) < 2:
        return []
    return [AcrossSection(across([(runs, run) for run in records]), runs)]
