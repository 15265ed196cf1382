"""The segments of a store's recordings, and the labels that they give to windows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stepcli.cache.schema.clips import ClipRow, SegmentRow
from stepcli.cache.schema.segments import BACKGROUND, by_recording, labels_at
from stepcli.cache.schema.windows import split_window
from stepcli.cache.storage.path import Location
from stepcli.cache.store.store import Store, open_store
from stepcli.runtime.csv_tables import WrongLines, read_table
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted, listed

NAMES = ("recording", "path", "id")
"""Columns that may name the recording, the first that is there."""


@dataclass(frozen=True, slots=True)
class SegmentsPlan:
    """What a file of segments changes, or changed."""

    segments: int
    recordings: int
    windows: int
    """Of these recordings."""
    background: int
    """Of the windows, those whose middle is in no segment."""
    changed: int
    """Of the windows, those that had another label."""
    notes: tuple[str, ...] = ()


def add_segments(store: Store, rows: Sequence[SegmentRow]) -> int:
    """Add segments of recordings that have none; those that are there belong to the user.

    Returns:
        How many were added.
    """
    if not rows:
        return 0
    added: list[SegmentRow] = []

    def add(present: list[SegmentRow]) -> list[SegmentRow]:
        known = {row.recording for row in present}
        added[:] = [row for row in rows if row.recording not in known]
        return [*present, *added]

    store.change_segments(add)
    return len(added)


def label_windows(
    store: Store, recordings: Collection[str], *, only_blank: bool = False
) -> tuple[int, int, int]:
    """Give the windows of recordings the label of their middle: the time of frame T // 2.

    Args:
        store: of windows, as refreshed last.
        recordings: ids; a recording without segments is all background.
        only_blank: leave labels that are there.

    Returns:
        Windows, those that are background now, those whose label changed.
    """
    wanted = set(recordings)
    ids = [stored_id for stored_id in store.ids if split_window(stored_id)[0] in wanted]
    label_of = _labels(store, ids)
    changed: list[str] = []

    def relabel(rows: list[ClipRow]) -> list[ClipRow]:
        fresh = [
            replace(row, label=label_of[row.id])
            if row.id in label_of and not (only_blank and row.label)
            else row
            for row in rows
        ]
        changed[:] = [new.id for new, old in zip(fresh, rows, strict=True) if new != old]
        return fresh

    if ids:
        store.change_clips(relabel)
    background = sum(label == BACKGROUND for label in label_of.values())
    return len(ids), background, len(changed)


def _labels(store: Store, ids: Sequence[str]) -> dict[str, str]:
    middle = store.spec.frames // 2
    segments = by_recording(store.segments())
    moments: dict[str, list[tuple[str, float]]] = {}
    for record in store.records(list(ids)) if ids else []:
        recording = split_window(record.id)[0]
        moments.setdefault(recording, []).append((record.id, record.pts_seconds[middle]))
    return {
        stored_id: label
        for recording, mine in moments.items()
        for (stored_id, _), label in zip(
            mine, labels_at(segments.get(recording, []), [time for _, time in mine]), strict=True
        )
    }


def take_segments(root: Location, table: Path, *, dry_run: bool = False) -> SegmentsPlan:
    """Take the segments of recordings from a CSV, in place of those that the recordings had.

    Args:
        root: a store of windows.
        table: one line per segment: recording (or path), start_seconds, end_seconds, label; other
            columns are ignored. A recording that the file does not name stays as it is.
        dry_run: only say what would change.

    Raises:
        UsageError: no such columns, wrong lines, or recordings that the store does not have.
    """
    store = open_store(root)
    known = {recording for recording, number in map(split_window, store.ids) if number is not None}
    if not known:
        raise UsageError(
            f"the store {store.path} holds no windows of recordings; make one with stepcli extract "
            "--windows 16@4fps"
        )
    rows = _read(table, known)
    named = {row.recording for row in rows}
    notes = []
    if others := sorted(known - named):
        notes.append(
            f"{counted(len(others), 'recording')} of the store not in {table.name}, left as they "
            f"are: {listed(others)}"
        )
    if dry_run:
        windows = sum(split_window(stored_id)[0] in named for stored_id in store.ids)
        return SegmentsPlan(len(rows), len(named), windows, 0, 0, tuple(notes))
    store.change_segments(
        lambda present: [*(row for row in present if row.recording not in named), *rows]
    )
    windows, background, changed = label_windows(store, named)
    return SegmentsPlan(len(rows), len(named), windows, background, changed, tuple(notes))


def _read(table: Path, known: Collection[str]) -> list[SegmentRow]:
    found = read_table(table, ("label",))
    columns = found.columns
    name = next((each for each in NAMES if each in columns), None)
    ends = [
        next((each for each in (f"{end}_seconds", end) if each in columns), None)
        for end in ("start", "end")
    ]
    if name is None or None in ends:
        raise UsageError(
            f"{table}: expected the columns recording, start_seconds, end_seconds and label; found "
            f"{', '.join(columns) or 'no line'}. Files of Drive&Act, IKEA ASM, EPIC-KITCHENS and "
            "Charades are read when extract --windows runs with their data set"
        )
    wrong = WrongLines(table)
    rows: list[SegmentRow] = []
    unknown: list[str] = []
    for number, cells in found.lines:
        if len(cells) != len(columns):
            wrong.add(number, f"expected {len(columns)} cells, found {len(cells)}")
            continue
        line = dict(zip(columns, cells, strict=True))
        recording = next((each for each in _spellings(line[name]) if each in known), "")
        if not recording:
            unknown.append(line[name])
            continue
        try:
            start, end = (float(line[each or ""]) for each in ends)
        except ValueError:
            wrong.add(number, "start and end must be numbers of seconds")
            continue
        if not 0 <= start < end < float("inf"):
            wrong.add(number, f"the segment ends at {end:g} and starts at {start:g}")
        elif not line["label"]:
            wrong.add(number, "the label is empty")
        else:
            rows.append(SegmentRow(recording, start, end, line["label"]))
    wrong.refuse()
    if unknown:
        raise UsageError(
            f"{table}: {counted(len(unknown), 'line')} of recordings that are not in the store: "
            f"{listed(dict.fromkeys(map(repr, unknown)))}; it has {listed(sorted(known))}"
        )
    return rows


def _spellings(text: str) -> tuple[str, str]:
    """A recording as it is named, and without the ending of a file."""
    path = Path(text)
    return text, path.with_suffix("").as_posix() if path.suffix else text
