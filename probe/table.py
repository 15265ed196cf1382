"""Result tables: one line a configuration, seeds as mean and deviation."""

import csv
import io
import json
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any, Literal

Format = Literal["table", "json", "csv", "markdown", "latex"]

FIELDS = (
    *("run", "method", "task", "config", "seed", "split", "top1", "top5", "mean_class"),
    *("forced_choice", "params", "seconds", "fingerprint"),
)
"""What one run says to a script, in this order."""

METRICS = ("top1", "top5", "mean_class", "forced_choice")


def render(runs: Sequence[dict[str, Any]], form: Format) -> str:
    """Runs as text.

    "json" and "csv" have one entry a run, accuracies as fractions of 1; "table" and "markdown" have
    one line a configuration, accuracies in per cent, mean ± sample deviation over its seeds.
    """
    if form == "json":
        return json.dumps([{name: run[name] for name in FIELDS} for run in runs], indent=1)
    if form == "csv":
        return _csv(runs)
    header, rows = summary_rows(runs)
    if form == "latex":
        return _latex(header, rows)
    if form == "markdown":
        lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (header, *rows)
    )


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A tabular with booktabs rules, ready to paste."""
    escaped = str.maketrans({"_": r"\_", "%": r"\%", "±": r"$\pm$", "&": r"\&", "#": r"\#"})
    lines = [" & ".join(cell.translate(escaped) for cell in line) for line in (header, *rows)]
    columns = "l" + "r" * (len(header) - 1)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            rf"{lines[0]} \\",
            r"\midrule",
            *(rf"{line} \\" for line in lines[1:]),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _csv(runs: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for run in runs:
        values = [run[name] for name in FIELDS]
        writer.writerow([json.dumps(v) if isinstance(v, dict) else v for v in values])
    return out.getvalue().rstrip("\n")


def configuration(run: dict[str, Any]) -> str:
    """Equal for runs that differ in their seed alone."""
    config = {name: value for name, value in run["config"].items() if name != "seed"}
    return json.dumps([config, run["fingerprint"]], sort_keys=True)


def summary_rows(runs: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and one row a configuration, the weakest first within a task."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault(configuration(run), []).append(run)
    names = labels([members[0] for members in groups.values()])
    header = ["method", "task", "split", "seeds", *METRICS, "params", "s/run"]
    rows = []
    order = sorted(
        zip(names, groups.values(), strict=True),
        key=lambda item: (item[1][0]["task"], fmean(run["top1"] for run in item[1])),
    )
    for label, members in order:
        first = members[0]
        rows.append(
            [
                label,
                first["task"],
                first["split"],
                str(len(members)),
                *(_percent([run[metric] for run in members]) for metric in METRICS),
                f"{first['params']:,}",
                f"{fmean(run['seconds'] for run in members):.1f}",
            ]
        )
    return header, rows


def _percent(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ± {stdev(known):.1f}" if len(known) > 1 else ""
    return f"{fmean(known):.1f}{spread}"


def labels(runs: Sequence[dict[str, Any]]) -> list[str]:
    """A method's name, with whatever settings tell its rows apart."""
    names = []
    for run in runs:
        rivals = [
            _flat(r) for r in runs if r["method"] == run["method"] and r["task"] == run["task"]
        ]
        mine = _flat(run)
        differing = [
            f"{key.rpartition('.')[2]}={value}"
            for key, value in mine.items()
            if any(rival.get(key) != value for rival in rivals)
        ]
        names.append(" ".join([run["method"], *differing]))
    return names


def _flat(run: dict[str, Any]) -> dict[str, Any]:
    """A run's settings by dotted name."""
    flat: dict[str, Any] = {"store": run["fingerprint"][:8]}
    for section, values in run["config"].items():
        if section == "seed":
            continue
        if isinstance(values, dict):
            flat |= {f"{section}.{key}": value for key, value in values.items()}
        else:
            flat[section] = values
    return flat
