"""Recordings labelled frame by frame: strips of truth above prediction, and measures."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from stepcli.probe.analysis.dense_scores import DenseScores, RecordingScores, read_scores
from stepcli.probe.report.report_data import ReportEntry, Study
from stepcli.probe.report.style import Figure, canvas, finish, shortened
from stepcli.probe.report.tables import ReportTable, percent

MOST_RECORDINGS = 12
"""Of the figure; the weakest, the strongest and some in between."""
LEGEND_COLUMNS = 6
HUES = 20

Span = tuple[float, float, str]


def dense_scores(study: Study) -> list[tuple[ReportEntry, list[DenseScores]]]:
    """Entries with what `stepcli dense` has kept of their seeds, where it has.

    Raises:
        UsageError: a file is not what it writes.
    """
    found = []
    for entry in study.entries:
        kept = [read_scores(entry.found.runs / record.run) for record in entry.found.records]
        known = [scores for scores in kept if scores is not None]
        if known:
            found.append((entry, known))
    return found


def strips(found: Sequence[tuple[ReportEntry, list[DenseScores]]]) -> Figure | None:
    """Truth above prediction of the test recordings, by the entry with the best F1@50."""
    found = [each for each in found if each[1][0].recordings]  # an exported run has none
    if not found:
        return None
    from matplotlib.patches import Patch

    entry, every = max(found, key=lambda each: fmean(one.f1["50"] for one in each[1]))
    recordings = every[0].recordings
    names = _spread(sorted(recordings, key=lambda name: recordings[name].f1_50))
    labels = sorted(
        {span[2] for one in recordings.values() for span in (*one.true, *one.predicted)}
    )
    named = labels if len(labels) <= HUES else []  # with more classes, colours repeat
    lines = -(-len(named) // LEGEND_COLUMNS)
    height = 0.35 + 0.55 * len(names) + 0.15 * lines
    drawn, axes = canvas(height, rows=len(names), squeeze=False)
    for name, (place,) in zip(names, axes, strict=True):
        _strip(place, recordings[name], labels)
        place.set_ylabel(
            f"{shortened([name], 18)[0]}\n{percent(recordings[name].f1_50)}",
            rotation=0,
            ha="right",
            va="center",
            fontsize=6.5,
        )
    axes[-1][0].set_xlabel("seconds")
    if named:
        patches = [Patch(color=_colour(name, labels), label=name) for name in named]
        drawn.legend(handles=patches, loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=6)
    shown = f"{len(names)} of {len(recordings)}" if len(names) < len(recordings) else "all"
    return finish(
        drawn,
        "recordings",
        "Recordings, truth above prediction",
        f"{entry.label}, seed {entry.found.first.seed}, {shown} test recordings by F1@50 (beside "
        "the name, per cent). Upper row: true segments; lower row: predicted ones; black below: "
        "moments with another label. White is background.",
        f"Strips of {len(names)} recordings with true and predicted segments; the tables below "
        "give the numbers.",
    )


def _spread(names: Sequence[str]) -> list[str]:
    """At most `MOST_RECORDINGS`, evenly from the first to the last."""
    if len(names) <= MOST_RECORDINGS:
        return list(names)
    last = len(names) - 1
    return [names[i * last // (MOST_RECORDINGS - 1)] for i in range(MOST_RECORDINGS)]


def _strip(place: Any, one: RecordingScores, labels: Sequence[str]) -> None:
    end = max((span[1] for span in (*one.true, *one.predicted)), default=1.0)
    for row, spans in ((1.3, one.true), (0.3, one.predicted)):
        for start, stop, label in spans:
            place.broken_barh(
                [(start, stop - start)], (row, 0.9), facecolors=_colour(label, labels)
            )
            if stop - start > 0.07 * end:
                text = shortened([label], max(3, round(90 * (stop - start) / end)))[0]
                place.text(
                    (start + stop) / 2, row + 0.42, text, fontsize=4.5, ha="center", va="center"
                )
    place.broken_barh(errors(one), (0.0, 0.25), facecolors="black")
    place.set_ylim(0, 2.25)
    place.set_xlim(0, end)
    place.set_yticks([])
    place.grid(visible=False)
    place.tick_params(labelsize=6)


def _colour(label: str, labels: Sequence[str]) -> Any:
    import matplotlib as mpl

    return mpl.colormaps["tab20"](labels.index(label) % HUES)


def errors(one: RecordingScores) -> list[tuple[float, float]]:
    """Start and length of each stretch in which truth and prediction differ."""
    edges = sorted({0.0, *(t for span in (*one.true, *one.predicted) for t in span[:2])})
    found: list[tuple[float, float]] = []
    for start, stop in pairwise(edges):
        middle = (start + stop) / 2
        if _label(one.true, middle) == _label(one.predicted, middle):
            continue
        if found and found[-1][0] + found[-1][1] == start:
            start = found.pop()[0]
        found.append((start, stop - start))
    return found


def _label(spans: Sequence[Span], moment: float) -> str:
    return next((label for start, stop, label in spans if start <= moment < stop), "")


def measures(found: Sequence[tuple[ReportEntry, list[DenseScores]]]) -> ReportTable | None:
    """Frame accuracy, edit score, F1 and mAP of each entry."""
    if not found:
        return None

    def row(entry: ReportEntry, every: Sequence[DenseScores]) -> tuple[str, ...]:
        values = (
            fmean(one.frame_accuracy for one in every),
            fmean(one.edit for one in every),
            *(fmean(one.f1[key] for one in every) for key in ("10", "25", "50")),
            fmean(one.mean_map for one in every),
            fmean(one.map["0.5"] for one in every),
        )
        return (entry.label, str(len(every)), *map(percent, values))

    return ReportTable(
        "dense",
        "Frames and segments",
        "Per cent, mean over seeds: frame accuracy (background counts), edit score, F1 at temporal "
        "IoU 0.1, 0.25 and 0.5, mAP over IoU 0.1 to 0.7 and at 0.5. How frames are smoothed was "
        "chosen on recordings of train.",
        ("method", "seeds", "frames", "edit", "F1@10", "F1@25", "F1@50", "mAP", "mAP@0.5"),
        tuple(row(entry, every) for entry, every in found),
    )


def by_class(found: Sequence[tuple[ReportEntry, list[DenseScores]]]) -> ReportTable | None:
    """F1@50 of each class, a column per entry."""
    names = dict.fromkeys(
        name for _, every in found for one in every for name in one.f1_50_by_class
    )
    if not names:
        return None

    def cell(every: Sequence[DenseScores], name: str) -> str:
        values = [one.f1_50_by_class[name] for one in every if name in one.f1_50_by_class]
        return percent(fmean(values) if values else None)

    return ReportTable(
        "dense-classes",
        "F1@50 by class",
        "Per cent, mean over the seeds that predict the class or should have.",
        ("class", *(entry.label for entry, _ in found)),
        tuple((name, *(cell(every, name) for _, every in found)) for name in names),
    )
