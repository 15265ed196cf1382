"""Figures of how often probes are right: by parameters, pair and share of train."""

from collections.abc import Sequence
from math import log10
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from stepcli.probe.report.report_data import KINDS, ReportEntry, Study
from stepcli.probe.report.style import (
    LOOKS,
    Figure,
    canvas,
    finish,
    legend_below,
    percent_axis,
    series,
    shortened,
)
from stepcli.probe.runs.published import Published

MOST_PAIRS = 40
"""Of a figure with a row a pair; the table below it has them all."""


def pareto(study: Study, published: Sequence[Published]) -> Figure:
    """Top-1 with intervals against trainable parameters; the best for their size on a line."""
    drawn, axes = canvas(3.6)
    marks: list[tuple[float, float, str]] = []
    for kind in KINDS:
        look = LOOKS[kind]
        for number, entry in enumerate(study.of_kind(kind)):
            top1 = entry.analysis.top1
            # A row of zero parameters (no training) has no place on a logarithmic axis but the end.
            x = float(max(entry.analysis.params, 1))
            if top1.low is not None and top1.high is not None:
                axes.plot([x, x], [100 * top1.low, 100 * top1.high], color=look["color"], lw=1.2)
            axes.plot(
                x,
                100 * top1.mean,
                look["marker"],
                color=look["color"],
                markeredgecolor="black",
                markeredgewidth=0.6,
                markersize=7,
                label=kind if number == 0 else None,
            )
            marks.append((x, 100 * top1.mean, shortened([entry.label], 26)[0]))
    # Of unknown size: at the right edge, where no number of parameters can be read off.
    unsized = [max(x for x, _, _ in marks) * 30] if any(p.params is None for p in published) else []
    for number, point in enumerate(published):
        x = unsized[0] if point.params is None else float(max(point.params, 1))
        axes.plot(
            x,
            point.value,
            "v",
            markerfacecolor="white",
            markeredgecolor="black",
            markersize=8,
            label="published" if number == 0 else None,
        )
        marks.append((x, point.value, shortened([point.method], 26)[0]))
    lowest = _name_marks(axes, marks)
    front = _front(study.entries)
    axes.plot(
        [max(e.analysis.params, 1) for e in front],
        [100 * e.analysis.top1.mean for e in front],
        color="#888888",
        linestyle=":",
        zorder=0,
    )
    axes.set_xscale("log")
    _log_limits(axes, [x for x, _, _ in marks])
    axes.xaxis.set_major_formatter(FuncFormatter(_count))
    axes.set_xlabel("trainable parameters")
    axes.set_ylabel("top-1, %")
    percent_axis(axes, "y", [*(y for _, y, _ in marks), *_interval_ends(study.entries)])
    axes.set_ylim(bottom=min(lowest, axes.get_ylim()[0]))
    legend_below(drawn, axes, columns=5)
    names = ", ".join(f"{e.label} {100 * e.analysis.top1.mean:.1f} %" for e in study.entries)
    return finish(
        drawn,
        "pareto",
        "Accuracy against trainable parameters",
        _sentences(
            ("One mark per row of the leaderboard.", True),
            (_interval_note(study.entries), bool(_interval_ends(study.entries))),
            ("Dotted: the best for their size.", len(front) > 1),
            ("Hollow: published numbers, on the source's own test set-up.", bool(published)),
            ("At the right edge: parameters not published.", bool(unsized)),
            ("Methods without trained parameters are drawn at 1.", min(x for x, _, _ in marks) < 2),
        ),
        f"Top-1 by trainable parameters: {names}.",
    )


def _interval_ends(entries: Sequence[ReportEntry]) -> list[float]:
    """Per cent; empty where no entry has an interval."""
    ends = [end for e in entries for end in (e.analysis.top1.low, e.analysis.top1.high)]
    return [100 * end for end in ends if end is not None]


def _interval_note(entries: Sequence[ReportEntry]) -> str:
    seeds = " and seeds" if any(entry.analysis.seeds > 1 for entry in entries) else ""
    return f"Bars: 95 % intervals over groups of clips{seeds}."


def _sentences(*each: tuple[str, bool]) -> str:
    """Those sentences of a caption whose subject is drawn."""
    return " ".join(text for text, drawn in each if drawn)


def _log_limits(axes: Any, values: Sequence[float]) -> None:
    """A decade and a half at least, with room for names at the right."""
    low, high = log10(min(values)), log10(max(values))
    spare = max(0.0, 1.5 - (high - low)) / 2
    axes.set_xlim(10 ** (low - spare - 0.2), 10 ** (high + spare + 0.25 * (high - low + 1)))


def _name_marks(axes: Any, marks: Sequence[tuple[float, float, str]]) -> float:
    """Names beside marks; one that would lie over another goes a line lower.

    Returns:
        What the axis has to reach down to, so that the lowest name is above it.
    """
    values = [y for _, y, _ in marks]
    line = max(max(values) - min(values), 5) / 22
    placed: list[tuple[float, float]] = []
    for x, y, name in sorted(marks, key=lambda mark: -mark[1]):
        height = y
        while any(abs(log10(x / px)) < 0.8 and abs(height - py) < line for px, py in placed):
            height -= line
        placed.append((x, height))
        axes.annotate(
            name,
            (x, y),
            xytext=(x * 1.25, height),
            textcoords="data",
            fontsize=7,
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
        )
    return min(height for _, height in placed) - line


def _front(entries: Sequence[ReportEntry]) -> list[ReportEntry]:
    """Entries that no smaller one equals, by size."""
    front: list[ReportEntry] = []
    for entry in sorted(entries, key=lambda e: (e.analysis.params, -e.analysis.top1.mean)):
        if not front or entry.analysis.top1.mean > front[-1].analysis.top1.mean:
            front.append(entry)
    return front


def _count(value: float, _: object = None) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g} {unit}"
    return f"{value:g}"


def dumbbells(study: Study) -> Figure | None:
    """Forced choice of each pair: order-blind, the best control, the best that sees order."""
    shown = [
        entry for kind in KINDS if (entry := study.best(kind)) is not None and entry.analysis.pairs
    ]
    if not shown:
        return None
    total = len(shown[0].analysis.pairs)
    names = [f"{row.a} / {row.b}" for row in shown[0].analysis.pairs][:MOST_PAIRS]
    drawn, axes = canvas(1.1 + 0.26 * len(names))
    values = np.array(
        [[100 * r.forced_choice for r in e.analysis.pairs[: len(names)]] for e in shown]
    )
    rows = np.arange(len(names))[::-1]
    axes.hlines(rows, values.min(axis=0), values.max(axis=0), color="#bbbbbb", lw=2.5, zorder=1)
    for entry, row in zip(shown, values, strict=True):
        look = LOOKS[entry.kind]
        axes.scatter(
            row,
            rows,
            s=46,
            color=look["color"],
            marker=look["marker"],
            edgecolor="black",
            linewidth=0.6,
            label=f"{shortened([entry.label], 24)[0]} ({entry.kind})",
            zorder=2,
        )
    axes.axvline(50, color="black", lw=0.8, linestyle="--")
    axes.set_yticks(rows, shortened(names, 44))
    percent_axis(axes, "x", [50, 100, *values.ravel().tolist()])
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlabel("forced choice between the two, % (dashed: chance)")
    legend_below(drawn, axes)
    said = "; ".join(f"{e.label}: {100 * e.score:.1f} % over pairs" for e in shown)
    return finish(
        drawn,
        "pairs",
        "Nearly symmetric pairs",
        "For each pair of opposite classes, how often the larger of the two logits is the right "
        "one. The strongest configuration of each kind is shown."
        + (f" The first {MOST_PAIRS} of {total} pairs." if total > MOST_PAIRS else ""),
        f"Forced choice by pair. {said}.",
    )


def fractions(study: Study) -> Figure | None:
    """Top-1 against how much of train was used, where runs differ in it."""
    lines: dict[str, list[tuple[float, ReportEntry]]] = {}
    counted = False
    for entry in study.entries:
        shots = entry.found.first.task_settings.get("shots")
        if isinstance(shots, int) and shots:
            counted = True
            lines.setdefault(entry.analysis.method, []).append((float(shots), entry))
    if not counted:
        for entry in study.entries:
            share = entry.found.first.task_settings.get("train_share", 1.0)
            if isinstance(share, int | float):
                lines.setdefault(entry.analysis.method, []).append((100 * share, entry))
    lines = {m: sorted(p, key=lambda point: point[0]) for m, p in lines.items()}
    lines = {m: p for m, p in lines.items() if len({x for x, _ in p}) > 1}
    if not lines:
        return None
    drawn, axes = canvas(3.2)
    for number, (method, points) in enumerate(lines.items()):
        means = [100 * e.analysis.top1.mean for _, e in points]
        axes.plot([x for x, _ in points], means, label=method, **series(number))
        for x, entry in points:
            top1 = entry.analysis.top1
            if top1.low is not None and top1.high is not None:
                axes.plot([x, x], [100 * top1.low, 100 * top1.high], color="#777777", lw=0.8)
    axes.set_xscale("log")
    places = sorted({x for points in lines.values() for x, _ in points})
    axes.set_xticks(places, [f"{x:g}" for x in places])
    axes.minorticks_off()
    axes.set_xlabel("training clips of each class" if counted else "share of train, %")
    axes.set_ylabel("top-1, %")
    drawn_entries = [entry for points in lines.values() for _, entry in points]
    tops = [100 * entry.analysis.top1.mean for entry in drawn_entries]
    percent_axis(axes, "y", [*tops, *_interval_ends(drawn_entries)])
    legend_below(drawn, axes, columns=4)
    several = any(entry.analysis.seeds > 1 for entry in drawn_entries)
    return finish(
        drawn,
        "low-data",
        "With less training data",
        _sentences(
            ("Each seed draws its own clips, smaller draws within larger ones.", several),
            ("One draw of the training clips, smaller draws within larger ones.", not several),
            (_interval_note(drawn_entries), bool(_interval_ends(drawn_entries))),
        ),
        "Top-1 against the amount of training data: "
        + "; ".join(
            f"{m} {', '.join(f'{x:g}: {100 * e.analysis.top1.mean:.1f} %' for x, e in p)}"
            for m, p in lines.items()
        ),
    )
