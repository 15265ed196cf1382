"""A configuration's accuracy with its interval; without torch, for tables of results."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.runs.stats import accuracy_interval


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval over seeds and groups of clips."""

    mean: float
    low: float | None
    """None with too few groups."""
    high: float | None
    groups: int
    by_group: dict[str, float]
    """Each group's own value where there is no interval; else empty."""


def interval(correct: NDArray[np.float64], groups: Sequence[str]) -> Interval:
    """Accuracy with its interval over seeds and groups; `correct` is [seeds, n]."""
    found = accuracy_interval(correct, groups)
    values = found.by_group if found.low is None else {}
    return Interval(found.mean, found.low, found.high, len(found.by_group), values)
