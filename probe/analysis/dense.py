"""Finished runs of --task dense, frame by frame: how recordings are labelled, and how well.

How steps are labelled (`Smoothing`) is chosen for each run by F1@50, then edit score, on recordings
of train: twins of the run, each trained without one fold of the recordings, say what they are. What
comes out is kept beside the run, <runs>/<run>/dense.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stepcli.cache.maintenance.recordings import (
    Recording,
    recordings_of,
    require_rule,
    step_seconds,
)
from stepcli.cache.schema.segments import BACKGROUND, by_recording, labels_at
from stepcli.cache.schema.windows import split_window
from stepcli.cache.store.store import Store
from stepcli.probe.analysis.calibration import softmax
from stepcli.probe.analysis.dense_scores import DenseScores, RecordingScores
from stepcli.probe.analysis.detection import (
    TimedSegment,
    mean_average_precision,
    proposals,
)
from stepcli.probe.analysis.frame_scores import (
    Smoothing,
    choices,
    frame_scores,
    step_labels,
)
from stepcli.probe.analysis.segmentation import (
    OVERLAPS,
    Counts,
    Ints,
    edit_score,
    runs_of,
    segment_counts,
    total,
)
from stepcli.probe.runs.metrics import multi_label_map
from stepcli.probe.runs.predictions import Predictions, joined
from stepcli.runtime.errors import UsageError

MOST_FOLDS = 3
"""Twins of a run at most: each is trained without one fold of the recordings of train."""


@dataclass(frozen=True)
class Truth:
    """A recording with its steps, their labels, and its windows' places."""

    recording: Recording
    seconds: NDArray[np.float64]
    """[N]"""
    labels: Ints
    """[N] indices of classes; -1 for a label that the run does not know."""
    segments: tuple[TimedSegment, ...]
    """All actions, also those that lie under another; none that a file names background."""
    rate: float
    """Steps per second."""

    @property
    def edges(self) -> list[float]:
        """[N + 1] seconds at which steps begin, and the last one ends."""
        return [step / self.rate for step in range(len(self.seconds) + 1)]


class TruthTable:
    """The recordings of a store, for runs with these classes."""

    def __init__(self, store: Store, classes: Sequence[str]) -> None:
        self._store = store
        self._rate = float(require_rule(store).rate)
        self._index = {name: place for place, name in enumerate(classes)}
        self._recordings = {each.id: each for each in recordings_of(store)}
        self._segments = by_recording(store.segments())
        self._made: dict[str, Truth] = {}

    @cached_property
    def background(self) -> int | None:
        """Index of the background class, where there is one."""
        return self._index.get(BACKGROUND)

    def __getitem__(self, name: str) -> Truth:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Truth:
        recording = self._recordings[name]
        seconds = step_seconds(self._store, recording)
        mine = self._segments.get(name, [])
        labels = [self._index.get(label, -1) for label in labels_at(mine, seconds.tolist())]
        intervals = tuple(
            TimedSegment(name, one.start_seconds, one.end_seconds, self._index.get(one.label, -1))
            for one in mine
            if one.label != BACKGROUND
        )
        return Truth(recording, seconds, np.array(labels, np.int64), intervals, self._rate)


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a run says of one recording."""

    recording: str
    group: str
    scores: NDArray[np.float64]
    """[N, C]"""
    labels: Ints
    """[N]"""


def window_places(said: Predictions) -> dict[str, list[int]]:
    """Recording -> rows of its windows, in order."""
    found: dict[str, list[tuple[int, int]]] = {}
    for row, clip in enumerate(said.clips):
        recording, number = split_window(clip)
        if number is None:
            raise UsageError(f"{clip!r} is no window of a recording; use runs of --task dense")
        found.setdefault(recording, []).append((number, row))
    return {name: [row for _, row in sorted(places)] for name, places in found.items()}


def label_recordings(
    said: Predictions, table: TruthTable, frames: int, how: Smoothing
) -> list[Labelled]:
    """Every step of every recording that was tested."""
    chances = softmax(said.logits)
    found = []
    for name, rows in window_places(said).items():
        truth = table[name]
        start_of = dict(truth.recording.windows)
        starts = [start_of[said.clips[row]] for row in rows]
        scores = frame_scores(chances[rows], starts, truth.recording.steps, frames, how.reach)
        labels = step_labels(scores, how.shortest)
        found.append(Labelled(name, said.groups[rows[0]], scores, labels))
    return found


def choose_smoothing(said: Predictions, table: TruthTable, frames: int) -> Smoothing:
    """The best on these recordings by F1@50, then by edit score; of equals the first."""

    def merit(how: Smoothing) -> tuple[float, float]:
        counts, edits = Counts(), []
        for each in label_recordings(said, table, frames, how):
            truth = table[each.recording].labels
            counts += total(segment_counts(each.labels, truth, 0.5, table.background))
            edits.append(edit_score(each.labels, truth, table.background))
        return counts.f1, float(np.mean(edits))

    return max(choices(frames), key=merit)


def score(
    said: Predictions,
    table: TruthTable,
    classes: Sequence[str],
    frames: int,
    how: Smoothing,
    chosen_on: str,
) -> DenseScores:
    """All numbers of one run on its test recordings.

    Raises:
        UsageError: no window of a recording.
    """
    labelled = label_recordings(said, table, frames, how)
    background = table.background
    by_overlap: dict[str, Counts] = {}
    by_class: dict[int, Counts] = {}
    kept: dict[str, RecordingScores] = {}
    found: list[TimedSegment] = []
    truths: list[TimedSegment] = []
    for each in labelled:
        truth = table[each.recording]
        for overlap in OVERLAPS:
            counts = segment_counts(each.labels, truth.labels, overlap, background)
            key = f"{100 * overlap:g}"
            by_overlap[key] = by_overlap.get(key, Counts()) + total(counts)
        for label, own in counts.items():
            by_class[label] = by_class.get(label, Counts()) + own
        kept[each.recording] = RecordingScores(
            len(truth.labels),
            int((each.labels == truth.labels).sum()),
            edit_score(each.labels, truth.labels, background),
            total(counts).f1,
            _spans(each.labels, truth, classes, background),
            _spans(truth.labels, truth, classes, background),
        )
        found += proposals(each.recording, each.scores, truth.edges, background)
        truths += truth.segments
    steps = sum(one.steps for one in kept.values())
    return DenseScores(
        smoothing=how,
        seconds_per_step=1 / next(table[each.recording].rate for each in labelled),
        chosen_on=chosen_on,
        frame_accuracy=sum(one.right for one in kept.values()) / steps,
        edit=float(np.mean([one.edit for one in kept.values()])),
        f1={key: counts.f1 for key, counts in by_overlap.items()},
        map={f"{t:g}": value for t, value in mean_average_precision(truths, found).items()},
        f1_50_by_class={
            classes[label]: own.f1 for label, own in sorted(by_class.items()) if label >= 0
        },
        recordings=kept,
        labels_map=_labels_map(labelled, table),
    )


def _labels_map(labelled: Sequence[Labelled], table: TruthTable) -> float | None:
    """Whole recordings by their labels, background left out; a recording may have several."""
    scores = np.stack([each.scores.max(axis=0) for each in labelled])
    relevant = np.zeros(scores.shape, bool)
    for row, each in zip(relevant, labelled, strict=True):
        row[[one.label for one in table[each.recording].segments if one.label >= 0]] = True
    if table.background is not None:
        relevant[:, table.background] = False
    return multi_label_map(scores, relevant)


def _spans(
    labels: Ints, truth: Truth, classes: Sequence[str], background: int | None
) -> list[tuple[float, float, str]]:
    edges = truth.edges
    return [
        (
            round(edges[run.start], 3),
            round(edges[run.end], 3),
            classes[run.label] if run.label >= 0 else "",
        )
        for run in runs_of(labels, background)
    ]


def pooled(every: Sequence[Predictions]) -> Predictions:
    """What the twins of a run say of their folds, together."""
    return every[0] if len(every) == 1 else joined(list(every))


def group_means(
    scores: Sequence[DenseScores], names: Sequence[str], value: str
) -> NDArray[np.float64]:
    """[seeds, recordings]: "edit" or "f1_50" of each recording."""
    return np.array(
        [[getattr(one.recordings[name], value) for name in names] for one in scores], np.float64
    )


def groups_of_recordings(said: Predictions) -> Mapping[str, str]:
    """Recording -> its group."""
    return {name: said.groups[rows[0]] for name, rows in window_places(said).items()}
