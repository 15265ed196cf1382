"""Labels on time: what a moment of a recording is called where segments overlap, or none is.

A segment holds the moments with start <= time < end. Of several segments that hold a moment, the
one that began last gives its label; of those that began together the one that ends first, then the
one that is listed first. A moment in no segment is background. Measures of detection (mAP) count
every segment, also those that lie under another.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stepcli.cache.schema.clips import SegmentRow

BACKGROUND = "background"
_TICK = 1e-6
"""Seconds: annotations are rounded (1/30 is written 0.033333), frame times are exact."""


def labels_at(segments: Sequence[SegmentRow], seconds: Sequence[float]) -> list[str]:
    """The label of each moment.

    Args:
        segments: of one recording, in any order.
        seconds: [N] moments, since the recording's first frame.
    """
    times: NDArray[np.float64] = np.asarray(seconds, np.float64)
    found = np.full(len(times), BACKGROUND, dtype=object)
    # What is written later lies above.
    ordered = segments[::-1]
    ordered = sorted(ordered, key=lambda one: (one.start_seconds, -one.end_seconds))
    for segment in ordered:
        inside = (times >= segment.start_seconds - _TICK) & (times < segment.end_seconds - _TICK)
        found[inside] = segment.label
    labels: list[str] = found.tolist()
    return labels


def by_recording(rows: Sequence[SegmentRow]) -> dict[str, list[SegmentRow]]:
    """The segments of each recording."""
    found: dict[str, list[SegmentRow]] = {}
    for row in rows:
        found.setdefault(row.recording, []).append(row)
    return found
