"""What the table of the order suite shows, in words made from its numbers alone."""

import json
from collections.abc import Iterator, Sequence

from stepcli.probe.analysis.order_suite import Finding, Suite, SuiteCell, SuiteRow
from stepcli.probe.runs.cells import csv_text
from stepcli.probe.runs.compare import LEVEL
from stepcli.probe.runs.stats import FEWEST_GROUPS, PairedDifference, holm, paired_difference
from stepcli.probe.runs.table import Format, arranged
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted, listed

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
        header = list(records[0])
        yield csv_text([header, *([record[name] for name in header] for record in records)])
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
    """Sentences: who is at the null, what STEP sees, and where another row is above it.

    A value without an interval is given without a conclusion, and so are imported models.
    """
    lines = [*_reading(suite), _blind(suite)]
    main = _main(suite)
    if main is None:
        return lines
    others = [row for row in suite.rows if row is not main]
    lines += [_task(task, main, others) for task in suite.tasks if task in main.cells]
    return lines + _differences(suite, main, others)


def _reading(suite: Suite) -> list[str]:
    """What the numbers are, and what they cannot tell; the first line is the table's caption."""
    cells = [(row, task, cell) for row in suite.rows for task, cell in row.cells.items()]
    with_interval = [row for row, _, cell in cells if cell.low is not None]
    mark = "50 % lies in the 95 % interval over seeds and groups"
    if not with_interval:
        mark = "exactly 50 % of each draw"
    lines = [
        "Per cent of forced choices between the two labels of a draw, which show the same frames; "
        f"° is the null: {mark}."
    ]
    groups: dict[str, int] = {
        task: len(set(cell.groups)) for _, task, cell in cells if cell.finding == "no interval"
    }
    if groups:
        each = listed([f"{task} has {counted(n, 'group')}" for task, n in groups.items()], 8)
        lines.append(
            f"No interval could be made: {each}, at least {FEWEST_GROUPS} are needed. Values "
            "without an interval do not show whether a row is above the null."
        )
    once = dict.fromkeys(
        row.label
        for row in with_interval
        if {len(cell.right) for cell in row.cells.values()} == {1}
    )
    if once:
        lines.append(
            f"One seed only: {listed(list(once), 8)}; an interval then covers new groups, not new "
            "seeds."
        )
    imported = [row.label for row in suite.rows if row.family == "imported"]
    if imported:
        lines.append(
            f"Imported: {listed(imported, 8)}; what these models read of a clip is not known, so "
            "nothing is concluded about order."
        )
    return lines


def _blind(suite: Suite) -> str:
    blind = [row for row in suite.rows if row.family == "order-blind"]
    if not blind:
        return "No order-blind probe is among the runs, so the null is not shown."
    names = listed([row.label for row in blind], 8)

    def those(*findings: Finding) -> str:
        return listed(
            [
                f"{row.label} on {task} ({_value(cell)})"
                for row in blind
                for task, cell in row.cells.items()
                if cell.finding in findings
            ],
            8,
        )

    if above := those("above", "below"):
        return f"Order-blind probes ({names}) are off the null: {above}."
    if unknown := those("no interval"):
        return f"Order-blind probes ({names}) are not exactly at the null: {unknown}."
    return f"Order-blind probes ({names}) are at the null on every task."


def _main(suite: Suite) -> SuiteRow | None:
    """STEP, the best of several; without it the strongest probe that can see order."""
    able = [row for row in suite.rows if row.family not in _NOT_JUDGED]
    rows = [row for row in able if row.family == "step"] or able
    return max(rows, key=lambda row: sum(c.mean for c in row.cells.values()), default=None)


_NOT_JUDGED = ("order-blind", "control", "imported")
_SINGLE = ("duration", "first-frame", "middle-frame", "last-frame")
"""Controls that know no order at all: a task that they solve shows order only above them."""


def _task(task: str, main: SuiteRow, others: Sequence[SuiteRow]) -> str:
    """What one task shows of the main row and of the others that can see order."""
    rivals = [row for row in others if task in row.cells and row.family not in _NOT_JUDGED]
    judged = [main, *rivals]
    if any(row.cells[task].finding == "no interval" for row in judged):
        return f"{task}, without an interval: {_values(judged, task)}."
    controls = [row for row in others if task in row.cells and row.family == "control"]
    single = [row for row in controls if row.method in _SINGLE]
    mine = main.cells[task]
    value = f"{task} {_value(mine)}"
    seeing = [row for row in rivals if _unexplained(row, task, single) == []]
    rest = [row for row in rivals if row not in seeing]
    if mine.finding == "above":
        frames = _unexplained(main, task, single)
        if not frames:
            return f"{main.label} sees {SEES[task]} ({value}){_also(task, seeing, rest)}."
        text = (
            f"{main.label} is above the null on {task} ({_value(mine)}), but not shown to be above "
            f"controls that know no order: {_values(frames, task)}"
        )
    elif mine.finding == "below":
        text = f"{main.label} is below the null on {task} ({_value(mine)})"
    elif mine.finding == "exact":
        text = f"{main.label} does not see {SEES[task]} ({value})"
    else:
        text = f"{main.label} is not shown to see {SEES[task]} ({value}, {_interval(mine)})"
    if seeing:
        return f"{text}; {_values(seeing, task)} {'does' if len(seeing) == 1 else 'do'}."
    return f"{text}; no other row is shown to." if rivals else f"{text}."


def _also(task: str, seeing: Sequence[SuiteRow], rest: Sequence[SuiteRow]) -> str:
    """How the other rows compare with one that sees."""
    if not seeing:
        exact = all(row.cells[task].finding == "exact" for row in rest)
        none = "no other row does" if exact else "no other row is shown to"
        return f"; {none}: {_values(rest, task)}" if rest else ""
    also = f", as {_values(seeing, task)} {'does' if len(seeing) == 1 else 'do'}"
    return f"{also}; not shown of {_values(rest, task)}" if rest else also


def _unexplained(row: SuiteRow, task: str, single: Sequence[SuiteRow]) -> list[SuiteRow] | None:
    """Controls above the null that a row is not shown to be above; None if the row is not above it.

    Single frames differ between the labels of `arrow`, so that there 50 % is not what a probe
    without order has at most.
    """
    mine = row.cells[task]
    if mine.finding != "above":
        return None
    found = []
    for control in single:
        other = control.cells[task]
        if other.finding != "above":
            continue
        if other.samples == mine.samples:
            gain = paired_difference(mine.right, other.right, mine.groups)
            if gain.low is not None and gain.low > 0:
                continue
        found.append(control)
    return found


def _values(rows: Sequence[SuiteRow], task: str) -> str:
    best = sorted(rows, key=lambda row: -row.cells[task].mean)
    return listed([f"{row.label} ({_value(row.cells[task])})" for row in best], 8)


def _value(cell: SuiteCell) -> str:
    return f"{100 * cell.mean:.1f} %"


def _interval(cell: SuiteCell) -> str:
    assert cell.low is not None
    assert cell.high is not None
    return f"95 % interval {100 * cell.low:.1f} to {100 * cell.high:.1f}"


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
