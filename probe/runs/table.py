"""Result tables: one line a configuration, seeds as mean and deviation."""

import json
import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

from pydantic import JsonValue

from stepcli.probe.config.task import MULTI_LABEL
from stepcli.probe.runs.cells import Bold, csv_text, latex_table, markdown
from stepcli.probe.runs.configurations import configuration, over_splits
from stepcli.probe.runs.labels import labels
from stepcli.probe.runs.metrics import MEAN_AP, METRICS
from stepcli.probe.runs.published import Published, by_protocol, rows_of
from stepcli.probe.runs.record import RunRecord, tells_top5
from stepcli.runtime.errors import UsageError
from stepcli.runtime.terminal import shown
from stepcli.runtime.words import natural_order

Format = Literal["table", "json", "csv", "markdown", "latex", "parquet"]

FIELDS = (
    *("run", "method", "task", "config", "seed", "split"),
    *METRICS,
    *("params", "seconds", "fingerprint"),
    *("copied_test_clips", "top1_without_copies", "mean_ap"),
)
"""What one run says to a script, in this order."""


NO_COPIES = "top1_no_copies"
"""Column of tables in which some run's test clips are copies of training clips."""


def _fields(run: RunRecord) -> dict[str, JsonValue]:
    """`FIELDS` of one run."""
    return {name: getattr(run, name) for name in FIELDS}


def render(
    runs: Sequence[RunRecord],
    form: Format,
    *,
    published: Sequence[Published] = (),
    bold: Collection[str] = (),
    average_splits: bool = False,
    width: int | None = None,
) -> str:
    """Runs as text.

    "json" and "csv" have one entry per run, accuracies as fractions of 1; the others have one line
    per configuration, accuracies in per cent, mean ± sample deviation over its seeds. Where one
    group is left out at a time, mean and deviation are over the groups, and a second table has the
    value of each.

    Args:
        runs: Finished runs.
        form: Of the text.
        published: Other people's numbers, in tables of their own below.
        bold: Configurations whose top-1 is bold in LaTeX.
        average_splits: One line for what differs in its split file, splits or store alone: first
            the mean over seeds of each official split, then mean ± deviation over the splits.
        width: Columns of the terminal, for "table": what does not fit is left out, and named.
    """
    if form == "json":
        return json.dumps([_fields(run) for run in runs], indent=1)
    if form == "csv":
        return _csv(runs)
    header, rows = summary_rows(runs, bold if form == "latex" else (), average_splits)
    narrow = form == "table" and width is not None
    tables = [fitted(header, rows, width or 0) if narrow else arranged(header, rows, form)]
    if (by_group := group_rows(runs)) is not None:
        tables.append(arranged(*by_group, form))
    return "\n\n".join([*tables, *published_tables(published, form)])


def terminal_width() -> int | None:
    """Columns of the terminal on standard output; None where that is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


LEFT_OUT_FIRST = ("s/run", "params", "split", "top5", "mean_class", "seeds")
"""Columns of a table that a narrow terminal goes without, after those that say nothing."""


def fitted(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    left_out_first: Sequence[str] = LEFT_OUT_FIRST,
) -> str:
    """A table whose lines do not wrap, and a last line that names the columns left out.

    Args:
        header: Of the columns.
        rows: Their cells.
        width: Of the terminal.
        left_out_first: Columns to leave out, after those that are empty.
    """
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    empty = [name for name, cells in columns.items() if set(cells) == {"-"}]
    left_out = []

    def drawn() -> str:
        return arranged(list(columns), list(zip(*columns.values(), strict=True)), "table")

    for name in (*empty, *left_out_first):
        if max(map(len, drawn().splitlines())) <= width:
            break
        if columns.pop(name, None) is not None:
            left_out.append(name)
    text = drawn()
    if left_out:
        text += f"\n(no room for {', '.join(left_out)}: a wider terminal, or --format csv)"
    return text


def arranged(header: Sequence[str], rows: Sequence[Sequence[str]], form: Format) -> str:
    """Cells as a table for a terminal, Markdown or LaTeX; bold ones are `Bold`."""
    if form == "latex":
        return latex_table(header, rows)
    if form == "markdown":
        cells = [[markdown(cell) for cell in row] for row in rows]
        lines = [header, ["---", *["---:"] * (len(header) - 1)], *cells]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    rows = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (header, *rows)
    )


def _csv(runs: Sequence[RunRecord]) -> str:
    rows = (_fields(run).values() for run in runs)
    cells = ([json.dumps(v) if isinstance(v, dict) else v for v in row] for row in rows)
    return csv_text([FIELDS, *cells])


def write_parquet(runs: Sequence[RunRecord], path: Path | None) -> None:
    """One row per run, as "csv" has it, in a Parquet file.

    Raises:
        UsageError: no file is given: it is no text for a terminal.
    """
    if path is None:
        raise UsageError("--format parquet is no text; say where to with --out runs.parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_fields(run) for run in runs]
    for row in rows:
        row["config"] = json.dumps(row["config"])
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")


def summary_rows(
    runs: Sequence[RunRecord], bold: Collection[str] = (), average_splits: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Header and one row a configuration, the weakest first within a task."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault((over_splits if average_splits else configuration)(run), []).append(run)
    names = labels([members[0] for members in groups.values()])
    copied = any(run.copied_test_clips for run in runs)
    clean = [NO_COPIES] if copied else []
    several = [MEAN_AP] if any(run.several_labels for run in runs) else []
    top1, *others = (name for name in METRICS if name != "top5" or any(map(tells_top5, runs)))
    header = ["method", "task", "split", "seeds", *several, top1, *clean, *others]
    header += ["params", "s/run"]
    columns = [top1, *(["top1_without_copies"] if copied else []), *others]
    columns = [*(["mean_ap"] if several else []), *columns]
    rows = []
    order = sorted(
        zip(names, groups.values(), strict=True),
        key=lambda item: (item[1][0].task, fmean(run.headline for run in item[1])),
    )
    for label, members in order:
        first = members[0]
        splits: dict[tuple[str, str | None], list[RunRecord]] = {}
        for run in members:
            splits.setdefault((configuration(run), run.part), []).append(run)
        parts = "groups" if first.held_group is not None else "splits"
        by_part = len(splits) > 1 or first.held_group is not None
        cells = [
            percent([_mean([getattr(run, metric) for run in each]) for each in splits.values()])
            if by_part
            else percent([getattr(run, metric) for run in members])
            for metric in columns
        ]
        unsaid = [] if tells_top5(first) else ["top5"]
        # Shares of best scores that are labels: another measure than top-1 of one label.
        unsaid = ["top1", "top5"] if first.several_labels else unsaid
        cells = ["-" if name in unsaid else c for name, c in zip(columns, cells, strict=True)]
        if configuration(first) in bold:
            cells[0] = Bold(cells[0])
        rows.append(
            [
                label,
                first.task,
                f"{len(splits)} {parts}" if by_part else first.tested_on,
                str(len({run.seed for run in members})),
                *cells,
                f"{first.params:,}",
                f"{fmean(run.seconds for run in members):.1f}",
            ]
        )
    return header, rows


def group_rows(runs: Sequence[RunRecord]) -> tuple[list[str], list[list[str]]] | None:
    """Top-1, or mAP, of each group that was left out, per cent, mean over seeds: header, and one
    row per configuration as in `summary_rows`; None where no run leaves a group out."""
    left_out = [run for run in runs if run.held_group is not None]
    if not left_out:
        return None
    several = any(run.several_labels for run in left_out)
    names = sorted({str(run.held_group) for run in left_out}, key=natural_order)
    rows: dict[str, list[RunRecord]] = {}
    for run in left_out:
        rows.setdefault(configuration(run), []).append(run)
    titles = labels([members[0] for members in rows.values()])
    cells = []
    for title, members in zip(titles, rows.values(), strict=True):
        of_group: dict[str, list[float]] = {}
        for run in members:
            of_group.setdefault(str(run.held_group), []).append(run.headline)
        mean = fmean(map(fmean, of_group.values()))
        each = [f"{100 * fmean(of_group[n]):.1f}" if n in of_group else "-" for n in names]
        cells.append((members[0].task, mean, [title, members[0].task, *each]))
    metric = MEAN_AP if all(run.several_labels for run in left_out) else "top1"
    metric = f"top1, {MEAN_AP} of {MULTI_LABEL}" if metric == "top1" and several else metric
    return [f"{metric} by group", "task", *names], [row for *_, row in sorted(cells)]


def published_tables(published: Sequence[Published], form: Format) -> list[str]:
    """Other people's numbers as texts, one table per protocol under a line that says which."""
    mark = "% " if form == "latex" else ""
    return [
        "\n".join([f"{mark}{shown(protocol)}", *([""] if form == "markdown" else []), table])
        for protocol, rows in by_protocol(published).items()
        for table in [arranged(*rows_of(rows), form)]
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def percent(values: Sequence[float | None]) -> str:
    """Mean ± deviation of fractions of 1, in per cent; "-" where none is known."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ± {stdev(known):.1f}" if len(known) > 1 else ""
    return f"{fmean(known):.1f}{spread}"
