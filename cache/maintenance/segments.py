"""The segments of a store's recordings, and the labels that they give to windows."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stepcli.cache.maintenance.segment_ends import end_warnings
from stepcli.cache.schema.alike import composed
from stepcli.cache.schema.clips import ClipRow, SegmentRow
from stepcli.cache.schema.segments import BACKGROUND, by_recording, labels_at
from stepcli.cache.schema.windows import split_window
from stepcli.cache.storage.path import Location
from stepcli.cache.store.store import Store, open_store
from stepcli.runtime.csv_tables import WrongLines, csv_errors, read_header, read_table
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted, listed

NAMES = ("recording", "path", "id")
"""Columns that may name the recording, the first that is there."""
PLAIN = "recording, start_seconds, end_seconds and label"
"""Columns of our own form, for messages."""


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
    warnings: tuple[str, ...] = ()
    """About segments that do not lie in their recordings."""


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


def take_segments(
    root: Location, table: Path, *, read: "Reader | None" = None, dry_run: bool = False
) -> SegmentsPlan:
    """Take the segments of recordings from a file, in place of those that the recordings had.

    Args:
        root: a store of windows.
        table: a CSV with one line per segment: recording (or path), start_seconds, end_seconds,
            label; other columns are ignored. A recording that the file does not name stays as it
            is.
        read: of files of another form.
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
    found = (read or read_plain)(table, store, known)
    rows, named, notes = found.rows, found.recordings, [*found.notes]
    if others := sorted(known - named):
        notes.append(
            f"{counted(len(others), 'recording')} of the store not in {table.name}, left as they "
            f"are: {listed(others)}"
        )
    warnings = end_warnings(store, rows)
    if dry_run:
        windows = sum(split_window(stored_id)[0] in named for stored_id in store.ids)
        return SegmentsPlan(len(rows), len(named), windows, 0, 0, tuple(notes), warnings)
    store.change_segments(
        lambda present: [*(row for row in present if row.recording not in named), *rows]
    )
    windows, background, changed = label_windows(store, named)
    counts = (len(rows), len(named), windows, background, changed)
    return SegmentsPlan(*counts, tuple(notes), warnings)


@dataclass(frozen=True, slots=True)
class SegmentsFile:
    """What a file says of recordings of a store."""

    rows: Sequence[SegmentRow]
    recordings: frozenset[str]
    """That it names; background throughout where it gives no segment of one."""
    notes: Sequence[str] = ()


Reader = Callable[[Path, Store, Collection[str]], SegmentsFile]
"""File, store and the ids of its recordings -> what the file says of them. Raises UsageError."""


def is_plain(table: Path) -> bool:
    """Whether a file is a CSV of our own form."""
    return None not in _plain_columns(read_header(table))


def _plain_columns(columns: Sequence[str]) -> tuple[str | None, ...]:
    """The columns of recording, start, end and label; None for one that is missing."""
    choices = (NAMES, *((f"{end}_seconds", end) for end in ("start", "end")), ("label",))
    return tuple(next((each for each in some if each in columns), None) for some in choices)


def read_plain(table: Path, store: Store, known: Collection[str]) -> SegmentsFile:
    """Read a CSV with a line per segment; every recording must be one of the store's."""
    del store
    if not is_plain(table):
        with csv_errors(table):
            found_columns = ", ".join(read_header(table)) or "no line"
        raise UsageError(f"{table}: expected the columns {PLAIN}; found {found_columns}")
    found = read_table(table, ("label",))
    columns = found.columns
    name, *ends, label = (each or "" for each in _plain_columns(columns))
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
            start, end = (float(line[each]) for each in ends)
        except ValueError:
            wrong.add(number, "start and end must be numbers of seconds")
            continue
        if not 0 <= start < end < float("inf"):
            wrong.add(number, f"the segment ends at {end:g} and starts at {start:g}")
        elif not line[label]:
            wrong.add(number, "the label is empty")
        else:
            rows.append(SegmentRow(recording, start, end, composed(line[label])))
    wrong.refuse()
    if unknown:
        raise UsageError(
            f"{table}: {counted(len(unknown), 'line')} of recordings that are not in the store: "
            f"{listed(dict.fromkeys(map(repr, unknown)))}; it has {listed(sorted(known))}"
        )
    return SegmentsFile(rows, frozenset(row.recording for row in rows))


def _spellings(text: str) -> tuple[str, str]:
    """A recording as it is named, and without the ending of a file."""
    path = Path(text)
    return text, path.with_suffix("").as_posix() if path.suffix else text
