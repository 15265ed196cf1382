"""What a list says of stretches of its recordings, as the store's segments and windows' labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from stepcli.cache.maintenance.segment_ends import OpenSegment, end_warnings
from stepcli.cache.maintenance.segments import add_segments, label_windows
from stepcli.cache.schema.clips import SegmentRow
from stepcli.cache.schema.windows import split_window
from stepcli.cache.store.store import Store
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.datasets.segment_files import ListedSegment
from stepcli.extract.decode.isolated import frame_seconds
from stepcli.extract.pipeline.summary import say_notes
from stepcli.runtime.errors import VideoError
from stepcli.runtime.terminal import say
from stepcli.runtime.words import counted

BEYOND = 1 << 24
"""A frame after every recording's end, for a segment that lasts to the end."""


def add_listed_segments(store: Store, dataset: Dataset, recordings: Sequence[Clip]) -> None:
    """Write the segments of stored recordings that have none yet, and label their windows.

    Segments by frame number get the times of those frames. Labels and segments that are there
    belong to the user.

    Args:
        store: of windows, as refreshed last.
        dataset: with the stretches of its recordings.
        recordings: those of this run.
    """
    stored = {split_window(stored_id)[0] for stored_id in store.ids}
    known = {row.recording for row in store.segments()}
    rows: list[SegmentRow] = []
    unread: list[str] = []
    for clip in recordings:
        own = clip.id.removeprefix(f"{clip.prefix}/") if clip.prefix else clip.id
        stretches = dataset.stretches.get(own, ())
        if not stretches or clip.id not in stored or clip.id in known:
            continue
        listed = [_listed(stretch, dataset.part_of) for stretch in stretches]
        try:
            rows += segment_rows(clip.id, listed, clip.path, clip.frames_per_second)
        except VideoError:
            unread.append(clip.id)
    rows, notes = positive(rows)
    add_segments(store, rows)
    if rows:
        label_windows(store, {row.recording for row in rows}, only_blank=True)
    if unread:
        notes.append(
            f"the segments of {counted(len(unread), 'recording')} are given by frames, and the "
            f"video cannot be read (e.g. {unread[0]}): its windows have no label yet"
        )
    say_notes(notes)
    for warning in end_warnings(store, rows):
        say(f"warning: {warning}")


def _listed(clip: Clip, part_of: Mapping[str, str]) -> ListedSegment:
    bounds = (clip.start_seconds, clip.end_seconds, clip.start_frame, clip.end_frame)
    return ListedSegment((), clip.label, *bounds, part_of=part_of.get(clip.id, ""))


def segment_rows(
    recording: str,
    segments: Sequence[ListedSegment],
    path: Path,
    frames_per_second: float | None = None,
) -> list[SegmentRow]:
    """Segments with the times of their frames; the parts of one annotation are one segment.

    Args:
        recording: its id in the store.
        segments: of that recording.
        path: of the video, or of a folder of images; opened where segments go by frames.
        frames_per_second: of a folder of images.

    Raises:
        VideoError: the recording cannot be read.
    """

    def numbers(one: ListedSegment) -> list[int]:
        if one.end_seconds is None and one.end_frame is None:
            return [one.start_frame or 0, BEYOND]
        return [number for number in (one.start_frame, one.end_frame) if number is not None]

    wanted = sorted({number for one in segments for number in numbers(one)})
    second_of: dict[int, float] = {}
    if wanted:
        times = frame_seconds(path, wanted, frames_per_second)
        second_of = dict(zip(wanted, times, strict=True))
    return timed(recording, segments, second_of)


def timed(
    recording: str, segments: Sequence[ListedSegment], second_of: Mapping[int, float]
) -> list[SegmentRow]:
    """As `segment_rows`, from the time of each frame that a segment names."""
    found: dict[str, SegmentRow] = {}
    for number, one in enumerate(segments):
        start, end = one.start_seconds or 0.0, one.end_seconds
        if one.start_frame is not None:
            start = second_of[one.start_frame]
        if end is None:
            end = second_of[BEYOND if one.end_frame is None else one.end_frame]
        key = one.part_of or f"\0{number}"
        form = OpenSegment if one.end_seconds is None and one.end_frame is None else SegmentRow
        if before := found.get(key):
            start, end = min(start, before.start_seconds), max(end, before.end_seconds)
            form = OpenSegment if isinstance(before, OpenSegment) else form
        found[key] = form(recording, start, end, one.label)
    return list(found.values())


def positive(rows: Sequence[SegmentRow]) -> tuple[list[SegmentRow], list[str]]:
    """Segments that end after they begin, and a note on the others, which are left out."""
    good = [row for row in rows if row.start_seconds < row.end_seconds]
    if len(good) == len(rows):
        return good, []
    bad = next(row for row in rows if row.start_seconds >= row.end_seconds)
    text = (
        f"{counted(len(rows) - len(good), 'segment')} left out, of no length (e.g. {bad.label!r} "
        f"in {bad.recording}, from {bad.start_seconds:g} to {bad.end_seconds:g} s)"
    )
    return good, [text]
