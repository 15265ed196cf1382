"""What a list says of stretches of its recordings, as the store's segments and windows' labels."""

from collections.abc import Sequence

from stepcli.cache.maintenance.segments import add_segments, label_windows
from stepcli.cache.schema.clips import SegmentRow
from stepcli.cache.schema.windows import split_window
from stepcli.cache.store.store import Store
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.decode.isolated import frame_seconds
from stepcli.extract.pipeline.summary import say_notes
from stepcli.runtime.errors import VideoError
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
        try:
            rows += _rows(clip, stretches)
        except VideoError:
            unread.append(clip.id)
    add_segments(store, rows)
    if rows:
        label_windows(store, {row.recording for row in rows}, only_blank=True)
    if unread:
        say_notes(
            [
                f"the segments of {counted(len(unread), 'recording')} are given by frames, and the "
                f"video cannot be read (e.g. {unread[0]}): its windows have no label yet"
            ]
        )


def _rows(recording: Clip, stretches: Sequence[Clip]) -> list[SegmentRow]:
    def numbers(clip: Clip) -> list[int]:
        if clip.end_seconds is None and clip.end_frame is None:
            return [clip.start_frame or 0, BEYOND]
        return [number for number in (clip.start_frame, clip.end_frame) if number is not None]

    wanted = sorted({number for clip in stretches for number in numbers(clip)})
    second_of: dict[int, float] = {}
    if wanted:
        times = frame_seconds(recording.path, wanted, recording.frames_per_second)
        second_of = dict(zip(wanted, times, strict=True))

    def row(clip: Clip) -> SegmentRow:
        start, end = clip.start_seconds or 0.0, clip.end_seconds
        if clip.start_frame is not None:
            start = second_of[clip.start_frame]
        if end is None:
            end = second_of[BEYOND if clip.end_frame is None else clip.end_frame]
        return SegmentRow(recording.id, start, end, clip.label)

    return [row(clip) for clip in stretches]
