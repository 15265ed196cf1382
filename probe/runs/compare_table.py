"""A comparison of methods as text: for a terminal, a script or a paper."""

import json
from collections.abc import Sequence

from stepcli.probe.runs.cells import csv_text
from stepcli.probe.runs.compare import MethodDifference, describe, verdict_of
from stepcli.probe.runs.table import Format, arranged
from stepcli.runtime.errors import UsageError
from stepcli.runtime.terminal import shown

COLUMNS = ("method", "against", "points", "low", "high", "p", "groups", "seeds", "verdict")
"""Of a comparison: points of top-1, their 95 % interval, p after Holm's correction."""


def comparison_rows(
    reference: str, comparisons: Sequence[MethodDifference]
) -> list[list[str | float | int | None]]:
    """`COLUMNS` of each method but the first."""
    rows: list[list[str | float | int | None]] = []
    for each in comparisons:
        gain = each.difference
        bounds = [None if v is None else round(100 * v, 2) for v in (gain.low, gain.high)]
        p = None if each.corrected_p is None else round(each.corrected_p, 6)
        verdict = "no interval" if p is None else verdict_of(p)
        counts = (len(gain.by_group), gain.seeds)
        rows.append(
            [each.method, reference, round(100 * gain.mean, 2), *bounds, p, *counts, verdict]
        )
    return rows


def render_comparison(reference: str, comparisons: Sequence[MethodDifference], form: Format) -> str:
    """Every method but the first against the first.

    Args:
        reference: The first.
        comparisons: The others.
        form: table: one sentence for each; the others: `COLUMNS`.

    Raises:
        UsageError: a format for runs.
    """
    if form == "parquet":
        raise UsageError(
            "--format parquet holds runs; --compare gives table, markdown, latex, csv or json"
        )
    if form == "table":
        return "\n".join(shown(line) for line in describe(reference, comparisons))
    rows = comparison_rows(reference, comparisons)
    if form == "json":
        return json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in rows], indent=1)
    if form == "csv":
        return csv_text([COLUMNS, *rows])
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    return arranged(COLUMNS, cells, form)
