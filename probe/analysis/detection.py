"""Segments found in recordings, by mean average precision: pure functions, fractions of 1.

Source: ActivityNet's evaluation (the code of its challenge), by which THUMOS results are
reported too: per class, detections of all recordings by falling score; each takes the true
segment of its recording that it overlaps most among those that are free, if the temporal IoU is at
least the threshold. AP is the area under the precision envelope (PASCAL VOC 2011); mAP its mean
over the classes that have a true segment. Checked against that code:
tests/probe/analysis/test_detection.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.analysis.segmentation import runs_of

Floats = NDArray[np.float64]

TIOUS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
LEVELS = tuple(round(0.1 * level, 1) for level in range(1, 10))
"""Probabilities above which frames in a row are proposed as a segment."""
OVERLAPPING = 0.5
"""Temporal IoU from which on the lower of two proposals of a class is dropped."""


@dataclass(frozen=True, slots=True)
class TimedSegment:
    """A true segment, or a detection with its score."""

    recording: str
    start: float
    end: float
    label: int
    score: float = 1.0


def proposals(
    recording: str, scores: Floats, edges: Sequence[float], background: int | None
) -> list[TimedSegment]:
    """Segments of each class where its probability stays above one of `LEVELS`.

    Args:
        recording: its id.
        scores: [N, C] probabilities of each step.
        edges: [N + 1] seconds at which the steps begin, and the last one ends.
        background: class that is not proposed.

    Returns:
        Scored by the mean probability within; of overlapping ones of a class the better stays.
    """
    found: list[TimedSegment] = []
    for label in range(scores.shape[1]):
        if label == background:
            continue
        chances, seen, mine = scores[:, label], set[tuple[int, int]](), list[TimedSegment]()
        for level in LEVELS:
            for run in runs_of((chances > level).astype(np.int64), 0):
                if (run.start, run.end) not in seen:
                    seen.add((run.start, run.end))
                    score = float(chances[run.start : run.end].mean())
                    mine.append(
                        TimedSegment(recording, edges[run.start], edges[run.end], label, score)
                    )
        kept: list[TimedSegment] = []
        for one in sorted(mine, key=lambda each: -each.score):
            if all(_iou(one, other) < OVERLAPPING for other in kept):
                kept.append(one)
        found += kept
    return found


def mean_average_precision(
    truth: Sequence[TimedSegment], found: Sequence[TimedSegment], tious: Sequence[float] = TIOUS
) -> dict[float, float]:
    """mAP at each threshold."""
    labels = sorted({one.label for one in truth})
    each = [
        average_precision(
            [one for one in truth if one.label == label],
            [one for one in found if one.label == label],
            tious,
        )
        for label in labels
    ]
    return {
        tiou: float(np.mean([ap[place] for ap in each])) if each else 0.0
        for place, tiou in enumerate(tious)
    }


def average_precision(
    truth: Sequence[TimedSegment], found: Sequence[TimedSegment], tious: Sequence[float]
) -> list[float]:
    """AP of one class at each threshold."""
    by_recording: dict[str, list[tuple[int, TimedSegment]]] = {}
    for number, one in enumerate(truth):
        by_recording.setdefault(one.recording, []).append((number, one))
    ordered = sorted(found, key=lambda each: -each.score)
    right = np.zeros((len(tious), len(ordered)))
    taken = np.zeros((len(tious), len(truth)), bool)
    for column, one in enumerate(ordered):
        overlaps = [
            (_iou(one, other), number) for number, other in by_recording.get(one.recording, ())
        ]
        overlaps.sort(key=lambda each: -each[0])
        for row, tiou in enumerate(tious):
            free = next(
                (n for iou, n in overlaps if iou >= tiou and iou > 0 and not taken[row, n]), None
            )
            if free is not None:
                taken[row, free], right[row, column] = True, 1
    return [_area(row, len(truth)) for row in right]


def _area(right: Floats, positives: int) -> float:
    """Area under the precision envelope."""
    if not len(right) or not positives:
        return 0.0
    hits = np.cumsum(right)
    precision = np.concatenate([[0.0], hits / np.arange(1, len(right) + 1), [0.0]])
    recall = np.concatenate([[0.0], hits / positives, [1.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * envelope[1:]).sum())


def _iou(one: TimedSegment, other: TimedSegment) -> float:
    shared = max(0.0, min(one.end, other.end) - max(one.start, other.start))
    return shared / ((one.end - one.start) + (other.end - other.start) - shared)
