"""Which rows of a result table are better than all others of their kind, after correction."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from stepcli.probe.runs.compare import correctness
from stepcli.probe.runs.stats import holm, paired_difference
from stepcli.probe.runs.table import configuration
from stepcli.runtime.errors import UsageError

LEVEL = 0.05


def survivors(runs: Path, records: Sequence[dict[str, Any]]) -> frozenset[str]:
    """Configurations whose top-1 is the best of their task, split and store, and differs from every
    other one's there after Holm's correction: paired on the same test samples.

    Rows tested on other samples than the best are not compared with it, and then none is marked.
    """
    tables: dict[object, dict[str, list[dict[str, Any]]]] = {}
    for record in records:
        place = record["task"], record["split"], record["fingerprint"]
        tables.setdefault(place, {}).setdefault(configuration(record), []).append(record)
    found = set()
    for rows in tables.values():
        if len(rows) < 2:
            continue
        best = max(rows, key=lambda row: fmean(record["top1"] for record in rows[row]))
        try:
            sides = {row: correctness(runs, members) for row, members in rows.items()}
        except UsageError:
            continue
        mine = sides[best]
        if any(side.samples != mine.samples for side in sides.values()):
            continue
        others = [side for row, side in sides.items() if row != best]
        p = [paired_difference(mine.right, side.right, side.groups).p for side in others]
        known = [value for value in p if value is not None]
        if len(known) == len(p) and max(holm(known)) < LEVEL:
            found.add(best)
    return frozenset(found)
