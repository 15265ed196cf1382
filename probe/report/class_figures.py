"""Figures of single classes: confusion within pairs, and recall."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stepcli.probe.analysis.summary import confusion
from stepcli.probe.report.report_data import ReportEntry, Study
from stepcli.probe.report.style import (
    LOOKS,
    Figure,
    canvas,
    finish,
    legend_below,
    percent_axis,
    shortened,
)

MOST_CLASSES = 40
"""Of a figure with a row per class; the table below it has them all."""


def confusions(study: Study) -> Figure | None:
    """Confusion within pairs, by the strongest of two kinds side by side."""
    entries = [
        e
        for e in (study.best("order-blind"), study.best("sees order") or study.best("control"))
        if e is not None
    ]
    index = (
        list(
            dict.fromkeys(
                entries[0].found.classes.index(name)
                for row in entries[0].analysis.pairs
                for name in (row.a, row.b)
            )
        )
        if entries
        else []
    )
    if not index or len(index) > MOST_CLASSES:
        return None
    names = shortened([entries[0].found.classes[i] for i in index], 20)
    drawn, axes = canvas(
        3.8 if len(entries) > 1 else 5, columns=len(entries), sharey=True, squeeze=False
    )
    image: Any = None
    for entry, place in zip(entries, axes[0], strict=True):
        shares = 100 * confusion(entry.found, entry.found.predictions())[np.ix_(index, index)]
        image = place.imshow(shares, cmap="Greys", vmin=0, vmax=100)
        if len(index) <= 20:
            for (row, column), share in np.ndenumerate(shares):
                if share >= 0.5:
                    place.text(
                        column,
                        row,
                        f"{share:.0f}",
                        ha="center",
                        va="center",
                        fontsize=5.5,
                        color="white" if share > 55 else "black",
                    )
        place.set_title(shortened([entry.label], 24)[0])
        place.set_xticks(range(len(index)), names, rotation=90, fontsize=6.5)
        place.set_yticks(range(len(index)), names, fontsize=6.5)
        place.grid(visible=False)
        place.set_xlabel("predicted")
    axes[0][0].set_ylabel("true class")
    drawn.colorbar(image, ax=axes[0].tolist(), label="% of the class", shrink=0.7)
    return finish(
        drawn,
        "confusion",
        "Confusion within pairs",
        f"{_means(entries)}Per cent of each class (row) that got each answer. Partners are side "
        "by side: confusion within a pair is in 2 x 2 blocks on the diagonal.",
        "Confusion matrices of "
        + " and ".join(e.label for e in entries)
        + "; the table of classes below gives each class's recall and commonest error.",
    )


def _means(entries: Sequence[ReportEntry]) -> str:
    return "Mean over seeds. " if any(entry.analysis.seeds > 1 for entry in entries) else ""


def class_bars(study: Study) -> Figure | None:
    """Recall of each class: the strongest order-blind entry beside the strongest other."""
    entries = [
        e
        for e in (study.best("order-blind"), study.best("sees order", "imported"))
        if e is not None
    ]
    if not entries:
        return None
    recalls = [{row.name: 100 * row.recall for row in e.analysis.classes} for e in entries]
    names = sorted(recalls[0], key=lambda name: recalls[-1][name] - recalls[0][name], reverse=True)
    cut = names if len(names) <= MOST_CLASSES else [*names[:20], *names[-20:]]
    drawn, axes = canvas(1.1 + 0.24 * len(cut))
    rows = np.arange(len(cut))[::-1]
    height = 0.8 / len(entries)
    for number, (entry, values) in enumerate(zip(entries, recalls, strict=True)):
        look = LOOKS[entry.kind]
        axes.barh(
            rows + (0.5 * (len(entries) - 1) - number) * height,
            [values[name] for name in cut],
            height,
            color=look["color"],
            edgecolor="black",
            linewidth=0.5,
            hatch=look["hatch"],
            label=shortened([entry.label], 30)[0],
        )
    axes.set_yticks(rows, shortened(cut, 44))
    percent_axis(axes, "x", [0, 100])
    axes.set_xlim(left=0)
    axes.set_ylim(-0.7, len(cut) - 0.3)
    axes.set_xlabel("recall, %")
    legend_below(drawn, axes)
    how = (
        "Sorted by the difference between the two."
        if len(entries) > 1
        else "In the order of the classes."
    )
    note = "" if cut == names else f" The 20 largest gains and losses of {len(names)} classes."
    return finish(
        drawn,
        "classes",
        "Recall of each class",
        f"{_means(entries)}{how}{note}",
        "Recall by class of " + " and ".join(e.label for e in entries) + "; see the table.",
    )
