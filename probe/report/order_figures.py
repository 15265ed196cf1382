"""Figures of time: order tests, early recognition, learning, calibration, frame encodings."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.analysis.calibration import reliability, risk_coverage, softmax
from stepcli.probe.analysis.order_table import Field, early_curve, mean_of
from stepcli.probe.analysis.order_tests import NORMAL, ORDERS
from stepcli.probe.report.report_data import ReportEntry, Study
from stepcli.probe.report.style import (
    DASHES,
    Figure,
    canvas,
    counting_axis,
    finish,
    percent_axis,
    series,
    shortened,
)

MOST_LINES = 8


def strongest(entries: Sequence[ReportEntry]) -> list[ReportEntry]:
    """As many of the strongest entries as a plot bears, strongest first."""
    return sorted(entries, key=lambda entry: -entry.score)[:MOST_LINES]


def order_tests(study: Study) -> Figure | None:
    """Top-1 in each order, and how much of what was right goes over to the partner."""
    entries = [entry for entry in study.entries if entry.tests]
    if not entries:
        return None
    names = [NORMAL, *ORDERS]
    panels: list[tuple[Field, str]] = [("top1", "top-1, %")]
    if any(mean_of(e.tests, NORMAL, "flips") is not None for e in entries):
        panels.append(("flips", "right answers to the partner, %"))
    drawn, axes = canvas(1.5 + 0.26 * len(entries), columns=len(panels), sharey=True, squeeze=False)
    for (field, title), place in zip(panels, axes[0], strict=True):
        values = np.array(
            [[_hundredfold(mean_of(e.tests, name, field)) for name in names] for e in entries]
        )
        place.imshow(values, cmap="Greys", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                place.text(
                    column,
                    row,
                    f"{value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if value > 55 else "black",
                )
        place.set_title(title)
        place.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=7)
        place.set_yticks(range(len(entries)), shortened([e.label for e in entries], 26))
        place.grid(visible=False)
    backward = "; ".join(
        f"{e.label} {_percent(mean_of(e.tests, 'reversed', 'flips'))}" for e in entries
    )
    return finish(
        drawn,
        "order-tests",
        "Other orders at test time",
        "The stored frames of the test clips shown in another order. Reversed, shuffled and "
        "swapped halves show the same frames: what does not see order answers as before.",
        f"Right answers that go to the partner when clips are played backward: {backward}.",
    )


def _hundredfold(value: float | None) -> float:
    return float("nan") if value is None else 100 * value


def _percent(value: float | None) -> str:
    return "none has a partner" if value is None else f"{100 * value:.1f} %"


def early(study: Study) -> Figure | None:
    """Accuracy against how much of the clip has been seen."""
    curves = {e.label: early_curve(e.tests) for e in strongest(study.entries) if e.tests}
    curves = {label: curve for label, curve in curves.items() if curve}
    if not curves:
        return None
    drawn, axes = canvas(2.8)
    for number, (label, curve) in enumerate(curves.items()):
        axes.plot(
            [100 * x for x, _ in curve],
            [100 * y for _, y in curve],
            label=shortened([label], 30)[0],
            **series(number),
        )
    axes.set_xlabel("first frames seen, % of the clip")
    axes.set_ylabel("top-1, %")
    percent_axis(axes, "x", [0, 100])
    percent_axis(axes, "y", [100 * y for curve in curves.values() for _, y in curve])
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return finish(
        drawn,
        "early",
        "Early recognition",
        "Probes trained on whole clips are shown their first frames only.",
        "; ".join(
            f"{label}: {100 * c[0][1]:.1f} % after {100 * c[0][0]:.0f} % of the frames, "
            f"{100 * c[-1][1]:.1f} % after all"
            for label, c in curves.items()
        ),
    )


def learning(study: Study) -> Figure | None:
    """Training loss by epoch."""
    entries = [entry for entry in strongest(study.entries) if entry.losses]
    if not entries:
        return None
    drawn, axes = canvas(2.8)
    for number, entry in enumerate(entries):
        look = series(number) | {"marker": None}
        length = min(map(len, entry.losses))
        curve = np.mean([losses[:length] for losses in entry.losses], axis=0)
        axes.plot(np.arange(1, length + 1), curve, label=shortened([entry.label], 30)[0], **look)
    counting_axis(axes, "x", max(len(losses) for entry in entries for losses in entry.losses))
    several = any(len(entry.losses) > 1 for entry in entries)
    notes = _loss_notes(entries)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss, nats")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return finish(
        drawn,
        "learning",
        "Learning curves",
        " ".join(["Mean over seeds."] * several + notes) or "The training loss by epoch.",
        "; ".join(f"{e.label} ends at {fmean(x[-1] for x in e.losses):.3f}" for e in entries),
    )


def _loss_notes(entries: Sequence[ReportEntry]) -> list[str]:
    recipes = [entry.found.first.config.get("recipe") for entry in entries]
    smoothed = [isinstance(r, dict) and bool(r.get("label_smoothing")) for r in recipes]
    return ["The loss includes label smoothing, so it does not reach zero."] * any(smoothed)


def calibration(study: Study) -> Figure | None:
    """Reliability before and after temperature scaling, and risk against coverage."""
    entry = study.best("sees order", "imported") or study.best(*("order-blind", "control"))
    if entry is None:
        return None
    from stepcli.probe.analysis.summary import temperatures

    seeds = entry.found.predictions()
    row = entry.analysis.calibration
    fitted = None if row.after is None else temperatures(entry.found)
    drawn, (left, right) = canvas(3.4, columns=2)
    left.plot([0, 100], [0, 100], color="#777777", lw=0.8, linestyle="--")
    versions: list[tuple[str, list[NDArray[np.float64]]]] = [
        ("as trained", [softmax(seed.logits) for seed in seeds])
    ]
    if fitted is not None:
        scaled = [softmax(s.logits, t) for s, t in zip(seeds, fitted, strict=True)]
        versions.append(("temperature scaled", scaled))
    for number, (label, probabilities) in enumerate(versions):
        every, truth = np.concatenate(probabilities), np.concatenate([s.labels for s in seeds])
        bins = reliability(every, truth)
        left.plot(
            [100 * b.confidence for b in bins],
            [100 * b.accuracy for b in bins],
            label=label,
            **series(number),
        )
    percent_axis(left, "x", [0, 100])
    percent_axis(left, "y", [0, 100])
    wrong = [0.0]
    left.set_xlabel("confidence, %")
    left.set_ylabel("accuracy, %")
    left.set_title(shortened([entry.label], 30)[0])
    for number, each in enumerate(strongest(study.entries)[:5]):
        curves = [risk_coverage(softmax(s.logits), s.labels) for s in each.found.predictions()]
        mean = np.mean([curve.risk for curve in curves], axis=0)
        wrong += [100 * float(mean.max())]
        look = series(number) | {"marker": None, "linestyle": DASHES[number % len(DASHES)]}
        right.plot(
            100 * curves[0].coverage, 100 * mean, label=shortened([each.label], 24)[0], **look
        )
    right.set_xlabel("share answered, the most confident first, %")
    right.set_ylabel("of these wrong, %")
    percent_axis(right, "x", [0, 100])
    percent_axis(right, "y", wrong)
    handles, names = left.get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside lower left")
    handles, names = right.get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside lower right", ncols=2)
    after = (
        f"{row.note[:1].upper()}{row.note[1:]}."
        if row.after is None
        else f"ECE {100 * row.before.ece:.1f} % before, {100 * row.after.ece:.1f} % after scaling "
        f"by a temperature fitted on a held-out slice of train."
    )
    return finish(
        drawn,
        "calibration",
        "Can the probabilities be believed?",
        "Left: accuracy of predictions of equal confidence; the dashed line is perfect "
        f"calibration. Right: errors left when the least confident are not answered. {after}",
        f"Reliability and risk-coverage of {entry.label}. {after}",
    )


def encodings(study: Study, similar: dict[str, NDArray[np.float64]]) -> Figure | None:
    """Cosine similarity of learned frame encodings, by entry."""
    if not similar:
        return None
    drawn, axes = canvas(2.9, columns=max(3, len(similar)), squeeze=False)
    image: Any = None
    for place, (label, matrix) in zip(axes[0], similar.items(), strict=False):
        ends = (0.5, len(matrix) + 0.5)
        image = place.imshow(matrix, cmap="PuOr", vmin=-1, vmax=1, extent=(*ends, *ends[::-1]))
        place.set_title(shortened([label], 24)[0])
        place.set_xlabel("frame")
        place.set_ylabel("frame")
        counting_axis(place, "x", len(matrix))
        counting_axis(place, "y", len(matrix))
        place.grid(visible=False)
    for place in axes[0][len(similar) :]:
        place.set_axis_off()
    drawn.colorbar(image, ax=axes[0][: len(similar)].tolist(), label="cosine", shrink=0.8)
    return finish(
        drawn,
        "encodings",
        "Learned frame encodings",
        "Cosine similarity of the encodings of each two frames, first seed. Bands along the "
        "diagonal: neighbours in time were given similar encodings.",
        "Similarity of learned frame encodings of " + ", ".join(similar) + ".",
    )
