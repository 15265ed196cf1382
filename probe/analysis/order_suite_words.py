"""What the table of the order suite shows, in words made from its numbers alone."""

import csv
import io
import json
from collections.abc import Iterator, Sequence

from stepcli.probe.analysis.order_suite import Suite, SuiteCell, SuiteRow
from stepcli.probe.runs.cells import csv_cell
from stepcli.probe.runs.compare import LEVEL
from stepcli.probe.runs.stats import PairedDifference, holm, paired_difference
from stepcli.probe.runs.table import Format, arranged
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import listed

SEES = {
    "arrow": "the direction of time",
    "there-and-back": "which end comes first",
    "random-onset": "order that begins at a random moment",
    "distractors": "the order of one clip between others",
    "twins": "which tokens come when",
    "sawtooth": "local motion at a random phase",
}
"""What a probe sees that is above the null of a task."""


def suite_texts(suites: Sequence[Suite], form: Format, width: int | None = None) -> Iterator[str]:
    """The tables of `results --order-suite`; "json" and "csv" have one entry per method and task.

    In a terminal of `width` columns a table that would wrap is shown without deviations over seeds.

    Raises:
        UsageError: there is no suite, or the form is no text.
    """
    if not suites:
        raise UsageError(
            "no runs of two or more tasks of the order suite on one store; train them with "
            "stepcli sweep recipes/order-suite.yaml"
        )
    records = [record for suite in suites for record in suite.records()]
    if form == "json":
        yield json.dumps(records, indent=1)
    elif form == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: csv_cell(v) for k, v in record.items()} for record in records)
        yield out.getvalue().rstrip("\n")
    elif form == "parquet":
        raise UsageError("--order-suite has no parquet: use --format csv or json")
    else:
        for suite in suites:
            if form == "table":
                yield suite.title
            text = arranged(suite.header(), suite.table(), form)
            if form == "table" and width is not None and len(text.splitlines()[0]) > width:
                text = arranged(suite.header(), suite.table(spread=False), form)
            yield text
            if form in ("table", "markdown"):
                yield "\n".join(conclusions(suite))


def conclusions(suite: Suite) -> list[str]:
    """Sentences: who is at the null, what STEP sees, and where another row is above it."""
    lines = [
        "Per cent of forced choices between the two labels of a draw, which show the same frames; "
        "° is the null: 50 % lies in the 95 % interval over seeds and groups."
    ]
    lines += _blind(suite)
    main = _main(suite)
    if main is None:
        return lines
    others = [row for row in suite.rows if row is not main]
    for task in suite.tasks:
        if task in main.cells:
            lines.append(_task(task, main, others))
    return lines + _differences(suite, main, others)


def _blind(suite: Suite) -> list[str]:
    blind = [row for row in suite.rows if row.family == "order-blind"]
    if not blind:
        return ["No order-blind probe is among the runs, so the null is not shown."]
    names = listed([row.label for row in blind], 8)
    above = [
        f"{row.label} on {task} ({_value(cell)})"
        for row in blind
        for task, cell in row.cells.items()
        if not cell.at_null
    ]
    if above:
        return [f"Order-blind probes ({names}) are off the null: {listed(above, 8)}."]
    return [f"Order-blind probes ({names}) are at the null on every task."]


def _main(suite: Suite) -> SuiteRow | None:
    """STEP, the best of several; without it the strongest row."""
    rows = [row for row in suite.rows if row.family == "step"] or list(suite.rows)
    return max(rows, key=lambda row: sum(c.mean for c in row.cells.values()), default=None)


def _task(task: str, main: SuiteRow, others: Sequence[SuiteRow]) -> str:
    mine = main.cells[task]
    rivals = [row for row in others if task in row.cells and row.family not in _KNOWN_BLIND]
    seeing = [row for row in rivals if row.cells[task].sees]
    null = [row for row in rivals if row.cells[task].at_null]
    if mine.sees:
        text = f"{main.label} sees {SEES[task]} ({task} {_value(mine)})"
        if null and not seeing:
            return f"{text}; no other row does: {_values(null, task)}."
        if null:
            return f"{text}; at the null: {_values(null, task)}."
        return f"{text}, as {_values(seeing, task)} do." if seeing else f"{text}."
    text = f"{main.label} does not see {SEES[task]} ({task} {_value(mine)})"
    if seeing:
        return f"{text}; {_values(seeing, task)} do."
    return f"{text}, nor does any other row." if rivals else f"{text}."


_KNOWN_BLIND = ("order-blind", "control")


def _values(rows: Sequence[SuiteRow], task: str) -> str:
    best = sorted(rows, key=lambda row: -row.cells[task].mean)
    return listed([f"{row.label} ({_value(row.cells[task])})" for row in best], 8)


def _value(cell: SuiteCell) -> str:
    return f"{100 * cell.mean:.1f} %"


def _differences(suite: Suite, main: SuiteRow, others: Sequence[SuiteRow]) -> list[str]:
    """Against the best other row of each task: gains, ties and losses, after Holm's correction."""
    found: list[tuple[str, SuiteRow, PairedDifference]] = []
    for task in suite.tasks:
        rivals = [row for row in others if task in row.cells]
        if task not in main.cells or not rivals:
            continue
        best = max(rivals, key=lambda row: row.cells[task].mean)
        mine, theirs = main.cells[task], best.cells[task]
        if mine.samples == theirs.samples:
            found.append((task, best, paired_difference(mine.right, theirs.right, mine.groups)))
    known = [each.p for _, _, each in found if each.p is not None]
    if not found or len(known) < len(found):
        return []
    corrected = holm(known)
    texts = []
    for (task, best, gain), p in zip(found, corrected, strict=True):
        assert gain.low is not None
        assert gain.high is not None
        told = "no difference is shown"
        if p < LEVEL:
            told = "a gain" if gain.mean > 0 else "a loss"
        texts.append(
            f"{task}: {100 * gain.mean:+.1f} against {best.label} "
            f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f}; {told})"
        )
    return [
        f"{main.label} minus the best other row, in points, with 95 % intervals and Holm's "
        f"correction over the tasks: {'; '.join(texts)}."
    ]
