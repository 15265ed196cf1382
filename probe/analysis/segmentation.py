"""How well a recording's frames are labelled: pure functions of label sequences, fractions of 1.

Source: Lea et al., "Temporal Convolutional Networks for Action Segmentation and Detection", arXiv
1611.05267, as MS-TCN (arXiv 1903.01945) computes them: frame accuracy counts background; edit score
and F1 go by segments, runs of one label, and leave background out. Checked against the evaluation
code of MS-TCN: tests/probe/analysis/test_segmentation.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

OVERLAPS = (0.10, 0.25, 0.50)
"""Temporal IoU at which a predicted segment counts as right."""


@dataclass(frozen=True, slots=True)
class Run:
    """Frames in a row with one label."""

    label: int
    start: int
    end: int
    """The frame after the last one."""


def runs_of(labels: Sequence[int] | Ints, background: int | None = None) -> list[Run]:
    """The runs of a label sequence in order, those of background left out.

    Args:
        labels: [N]
        background: index of that class; None: there is none.
    """
    found, start = [], 0
    for label, group in groupby(np.asarray(labels).tolist()):
        end = start + len(list(group))
        if label != background:
            found.append(Run(int(label), start, end))
        start = end
    return found


def edit_score(predicted: Ints, truth: Ints, background: int | None = None) -> float:
    """1 - Levenshtein distance of the two orders of segments / the larger number of segments.

    1 where neither has a segment.
    """
    one = [run.label for run in runs_of(predicted, background)]
    other = [run.label for run in runs_of(truth, background)]
    if not one and not other:
        return 1.0
    above = np.arange(len(other) + 1)
    for number, label in enumerate(one, 1):
        row = np.empty_like(above)
        row[0] = number
        for place, wanted in enumerate(other, 1):
            row[place] = min(
                above[place] + 1, row[place - 1] + 1, above[place - 1] + (label != wanted)
            )
        above = row
    return 1.0 - float(above[-1]) / max(len(one), len(other))


@dataclass(frozen=True, slots=True)
class Counts:
    """Predicted segments that are right and wrong, and true ones that were missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.right + other.right, self.wrong + other.wrong, self.missed + other.missed
        )

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 0 where nothing is right, 1 where there is no segment at all."""
        total = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / total if total else 1.0


def segment_counts(
    predicted: Ints, truth: Ints, overlap: float, background: int | None = None
) -> dict[int, Counts]:
    """By class: each predicted segment, in order of time, takes the true segment of its class that
    it overlaps most, if by at least `overlap` and not taken before; else it is wrong."""
    wanted = runs_of(truth, background)
    taken = [False] * len(wanted)
    counts: dict[int, Counts] = {}
    for run in runs_of(predicted, background):
        best, most = -1, 0.0
        for place, other in enumerate(wanted):
            if other.label == run.label and (iou := _iou(run, other)) > most:
                best, most = place, iou
        right = most >= overlap and best >= 0 and not taken[best]
        if right:
            taken[best] = True
        counts[run.label] = counts.get(run.label, Counts()) + Counts(right, not right)
    for run, found in zip(wanted, taken, strict=True):
        counts[run.label] = counts.get(run.label, Counts()) + Counts(missed=not found)
    return counts


def total(counts: dict[int, Counts]) -> Counts:
    """Over all classes."""
    return sum(counts.values(), Counts())


def _iou(one: Run, other: Run) -> float:
    shared = min(one.end, other.end) - max(one.start, other.start)
    if shared <= 0:
        return 0.0
    return shared / (max(one.end, other.end) - min(one.start, other.start))
