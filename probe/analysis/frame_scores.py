"""From what a probe says of windows to what it says of each step of a recording."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.analysis.segmentation import Ints, Run, runs_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Smoothing:
    """How steps are labelled; chosen on recordings of train that the probe has not seen."""

    reach: int
    """Steps from a window's middle for which its answer counts."""
    shortest: int
    """Steps of the shortest segment; shorter ones go to a neighbour. 1: none does."""


def choices(frames: int) -> list[Smoothing]:
    """Those that are tried, for windows of T frames: from the answer of the nearest window alone to
    the mean over all windows that hold a step; from no least length to a whole window."""
    reaches = sorted({0, frames // 8, frames // 4, frames // 2})
    lengths = sorted({1, max(1, frames // 4), max(1, frames // 2), frames})
    return [Smoothing(reach, shortest) for reach in reaches for shortest in lengths]


def frame_scores(
    probabilities: Floats, starts: Sequence[int], steps: int, frames: int, reach: int
) -> Floats:
    """Mean probabilities of each step over the windows that count for it, [N, C].

    A step for which none counts takes the answer of the window with the nearest middle.

    Args:
        probabilities: [W, C] of the windows.
        starts: [W] first steps, rising.
        steps: N.
        frames: T.
        reach: steps from a window's middle, start + T // 2, for which it counts.
    """
    total = np.zeros((steps, probabilities.shape[1]))
    count = np.zeros(steps)
    middles = np.asarray(starts, np.int64) + frames // 2
    for chances, start, middle in zip(probabilities, starts, middles.tolist(), strict=True):
        first = max(start, middle - reach)
        after = min(start + frames, middle + reach + 1, steps)
        total[first:after] += chances
        count[first:after] += 1
    lonely = np.flatnonzero(count == 0)
    nearest = np.abs(lonely[:, None] - middles[None]).argmin(axis=1) if len(lonely) else lonely
    total[lonely], count[lonely] = probabilities[nearest], 1
    scores: Floats = total / count[:, None]
    return scores


def step_labels(scores: Floats, shortest: int) -> Ints:
    """[N]: the likeliest class of each step, without segments shorter than `shortest`."""
    return merge_short(scores.argmax(axis=1).astype(np.int64), shortest)


def merge_short(labels: Ints, shortest: int) -> Ints:
    """Give each run shorter than `shortest` to the longer of its neighbours, the shortest first.

    Of equally short runs the first goes first; of equally long neighbours the earlier takes it.
    """
    runs = runs_of(labels)
    while len(runs) > 1:
        place = min(range(len(runs)), key=lambda i: runs[i].end - runs[i].start)
        run = runs[place]
        if run.end - run.start >= shortest:
            break
        beside = [i for i in (place - 1, place + 1) if 0 <= i < len(runs)]
        taker = max(beside, key=lambda i: runs[i].end - runs[i].start)
        runs[place] = Run(runs[taker].label, run.start, run.end)
        runs = _joined(runs)
    merged = np.empty_like(labels)
    for run in runs:
        merged[run.start : run.end] = run.label
    return merged


def _joined(runs: Sequence[Run]) -> list[Run]:
    """Neighbours of one label as one run."""
    found: list[Run] = []
    for run in runs:
        if found and found[-1].label == run.label:
            found[-1] = Run(run.label, found[-1].start, run.end)
        else:
            found.append(run)
    return found
