"""`stepcli corruptions` as text: clean score, score on each corruption, relative drops."""

import csv
import io
import json
from collections.abc import Sequence

from stepcli.probe.analysis.corruptions import CLEAN, CorruptionScores
from stepcli.probe.runs.cells import csv_cell
from stepcli.probe.runs.stats import FEWEST_GROUPS
from stepcli.probe.runs.table import Format, arranged
from stepcli.runtime.errors import UsageError


def corruption_text(scores: Sequence[CorruptionScores], form: Format) -> str:
    """Two tables: scores by kind, mean over severities; relative drops. "json" and "csv" have one
    entry per configuration and view.

    Raises:
        UsageError: parquet.
    """
    if form == "parquet":
        raise UsageError("corruptions: give --format table, markdown, latex, csv or json")
    entries = corruption_records(scores)
    if form == "json":
        return json.dumps(entries, indent=1)
    if form == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, list(entries[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: csv_cell(v) for k, v in entry.items()} for entry in entries)
        return out.getvalue().rstrip("\n")
    ordered = sorted(scores, key=lambda each: each.score(CLEAN))
    kinds = list(dict.fromkeys(kind for each in ordered for kind in each.kinds()))
    header = ["method", CLEAN, *kinds, "mean drop"]
    tops = [
        [
            each.label,
            _percent(each.score(CLEAN)),
            *(_percent(_mean(each, kind)) for kind in kinds),
            _percent(each.mean_drop(each.views)),
        ]
        for each in ordered
    ]
    views = list(dict.fromkeys(view for each in ordered for view in each.views))
    drops = [
        [each.label, *(_percent(each.drop(v)) if v in each.right else "-" for v in views)]
        for each in ordered
    ]
    mark = "% " if form == "latex" else "- " if form == "markdown" else ""
    first = (
        "top-1, per cent, mean over seeds and severities; mean drop: mean over all corrupted views "
        "of (clean - corrupted) / clean"
    )
    lines = [mark + first]
    if any(len(set(each.groups)) < FEWEST_GROUPS for each in ordered):
        lines.append(f"{mark}fewer than {FEWEST_GROUPS} groups: differences have no interval")
    titled = arranged(["relative drop", *views], drops, form)
    return "\n\n".join([arranged(header, tops, form), "\n".join(lines), titled])


def _mean(each: CorruptionScores, kind: str) -> float | None:
    views = each.kinds().get(kind, ())
    return sum(map(each.score, views)) / len(views) if views else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def corruption_records(
    scores: Sequence[CorruptionScores],
) -> list[dict[str, str | float | int | None]]:
    """One entry per configuration and view, fractions of 1; the interval is that of corrupted minus
    clean."""
    found: list[dict[str, str | float | int | None]] = []
    for each in scores:
        for view in each.right:
            change = None if view == CLEAN else each.difference(view)
            found.append(
                {
                    "method": each.label,
                    "view": view,
                    "seeds": len(each.right[view]),
                    "top1": each.score(view),
                    "relative_drop": None if view == CLEAN else each.drop(view),
                    "difference": None if change is None else change.mean,
                    "low": None if change is None else change.low,
                    "high": None if change is None else change.high,
                }
            )
    return found
