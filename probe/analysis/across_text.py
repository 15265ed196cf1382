"""The table of `results --across` as text: for a terminal, a paper or a script."""

import csv
import io
import json
from statistics import stdev

from stepcli.probe.analysis.across import Across, Column
from stepcli.probe.runs.cells import csv_cell
from stepcli.probe.runs.ranks import DRAWS
from stepcli.probe.runs.table import Format, arranged, percent
from stepcli.runtime.errors import UsageError
from stepcli.runtime.terminal import shown

RANK, INTERVAL, FIRST = "mean rank", "95 %", "first"


def across_text(found: Across, form: Format) -> str:
    """Methods by columns; "json" and "csv" have one entry per method and column.

    Raises:
        UsageError: parquet, which holds runs.
    """
    if form == "parquet":
        raise UsageError(
            "--format parquet holds runs; --across gives table, markdown, latex, csv or json"
        )
    if form in ("json", "csv"):
        entries = across_records(found)
        if form == "json":
            return json.dumps(entries, indent=1)
        out = io.StringIO()
        writer = csv.DictWriter(out, list(entries[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: csv_cell(v) for k, v in entry.items()} for entry in entries)
        return out.getvalue().rstrip("\n")
    table = arranged(across_header(found), across_rows(found), form)
    mark = "% " if form == "latex" else "- " if form == "markdown" else ""
    lines = [f"{mark}{shown(line)}" for line in across_notes(found)]
    return "\n".join([table, *([""] if form == "markdown" else []), *lines])


def across_header(found: Across) -> list[str]:
    """Of the table; each column says its data set and its metric."""
    columns = [f"{column.name}, {column.metric}" for column in found.columns]
    ranks = [RANK, *([INTERVAL, FIRST] if found.intervals else [])] if found.ranks else []
    return ["method", *columns, *ranks]


def across_rows(found: Across) -> list[list[str]]:
    """A line per method: per cent, mean ± deviation, and the rank in brackets."""
    rows = []
    for row in found.rows:
        cells = [row, *(_cell(found, row, column) for column in found.columns)]
        if found.ranks:
            rank = found.ranks.get(row)
            cells.append("-" if rank is None else f"{rank.mean:.2f}")
            if found.intervals:
                cells += (
                    ["-", "-"]
                    if rank is None
                    else [f"{rank.low:.2f} to {rank.high:.2f}", f"{100 * rank.first:.0f} %"]
                )
        rows.append(cells)
    return rows


def _cell(found: Across, row: str, column: Column) -> str:
    if row not in column.cells:
        return "-"
    rank = found.rank(row, column)
    said = "" if rank is None else f" ({rank:g})"
    return f"{percent(column.cells[row].values)}{said}"


def across_notes(found: Across) -> list[str]:
    """What each column is, how to read the ranks, and what is missing."""
    lines = [column.about for column in found.columns]
    if found.intervals:
        lines.append(
            f"{INTERVAL}, {FIRST}: where the mean rank is in 95 % of {DRAWS:,} draws of groups and "
            "seeds within each column, and how often it is the lowest; not over other data sets"
        )
    return [*lines, *found.notes]


def across_records(found: Across) -> list[dict[str, str | float | int | None]]:
    """One entry per method and column, fractions of 1."""
    entries: list[dict[str, str | float | int | None]] = []
    for row in found.rows:
        rank = found.ranks.get(row)
        intervals = rank is not None and found.intervals
        for column in found.columns:
            if row not in column.cells:
                continue
            cell = column.cells[row]
            values = cell.values
            entries.append(
                {
                    "method": row,
                    "column": column.name,
                    "dataset": column.first.dataset,
                    "backbone": column.first.backbone,
                    "task": column.first.task,
                    "split": column.first.split,
                    "fingerprint": column.first.fingerprint,
                    "metric": column.metric,
                    "value": cell.score,
                    "deviation": stdev(values) if len(values) > 1 else None,
                    "seeds": cell.seeds,
                    "samples": len(cell.samples),
                    "groups": column.groups,
                    "rank": found.rank(row, column),
                    "mean_rank": None if rank is None else rank.mean,
                    "mean_rank_low": rank.low if rank and intervals else None,
                    "mean_rank_high": rank.high if rank and intervals else None,
                    "first": rank.first if rank and intervals else None,
                }
            )
    return entries
