"""Warnings about segments that lie, or end, beyond the end of their recording."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from stepcli.cache.maintenance.recordings import recordings_of, require_rule
from stepcli.cache.schema.clips import SegmentRow
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.words import counted

LATE_SECONDS = 1.0
"""A segment may end this long after its recording: annotations are rounded."""


@dataclass(frozen=True, slots=True)
class OpenSegment(SegmentRow):
    """A segment that lasts to its recording's end; its own end is only some time after that."""


def end_warnings(store: Store, rows: Sequence[SegmentRow]) -> tuple[str, ...]:
    """Warn of the segments that do not lie in their recording, where the store has it.

    Args:
        store: of windows, as refreshed last.
        rows: the segments.
    """
    if not rows:
        return ()
    lengths: dict[str, float] = {}
    with suppress(DamagedStore):  # verify reports it; segments do not need the lengths
        rate = require_rule(store).rate
        lengths = {one.id: float(one.steps / rate) for one in recordings_of(store)}
    known = [(row, lengths[row.recording]) for row in rows if row.recording in lengths]
    beyond = [(row, length) for row, length in known if row.start_seconds >= length]
    late = [
        (row, length)
        for row, length in known
        if row.start_seconds < length
        and row.end_seconds > length + LATE_SECONDS
        and not isinstance(row, OpenSegment)
    ]
    return (
        *_warning(beyond, "beyond the end of the recording, where no frame is"),
        *_warning(late, f"more than {LATE_SECONDS:g} s too long for the recording"),
    )


def _warning(found: Sequence[tuple[SegmentRow, float]], what: str) -> tuple[str, ...]:
    if not found:
        return ()
    row, length = found[0]
    return (
        f"{counted(len(found), 'segment')} {what} (first: {row.label!r} in {row.recording}, "
        f"{row.start_seconds:g} to {row.end_seconds:g} s; the recording has {length:g} s)",
    )
