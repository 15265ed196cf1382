"""Data sets' own annotation files as the segments of a store's recordings.

A file names a recording by its path below the data set's root, or by its video's name alone; the
store by its path below the root that `extract` was given. They are the same recording where one
ends with the other, folder by folder, and no second one does.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from stepcli.cache.maintenance.segments import PLAIN, Reader, SegmentsFile, is_plain, read_plain
from stepcli.cache.schema.clips import SegmentRow
from stepcli.cache.schema.windows import split_window
from stepcli.cache.store.store import Store
from stepcli.extract.datasets.clip import DatasetInfo
from stepcli.extract.datasets.registry import DATASETS
from stepcli.extract.datasets.segment_files import ListedSegment
from stepcli.extract.datasets.videos import is_video
from stepcli.extract.datasets.walking import split_name
from stepcli.extract.pipeline.segments import positive, segment_rows, timed
from stepcli.runtime.csv_tables import read_header
from stepcli.runtime.errors import UnknownName, UsageError, VideoError
from stepcli.runtime.words import counted, listed


def segments_reader(options: Mapping[str, str], frames_per_second: float | None = None) -> Reader:
    """Reads our own CSV, and the annotation file of any data set that is known by its form.

    Args:
        options: of the data set, by name.
        frames_per_second: of the recordings, for segments by frame number; None opens the videos.
    """

    def read(table: Path, store: Store, known: Collection[str]) -> SegmentsFile:
        if is_plain(table):
            if options:
                raise UsageError(
                    f"--set {next(iter(options))}: {table} is a CSV with {PLAIN}, not a data set's "
                    "annotation file; leave the option out"
                )
            return read_plain(table, store, known)
        info = recognised(table)
        for option in options:
            if option not in info.options:
                raise UnknownName(f"option of the data set {info.name}", option, info.options)
        return _read(info, table, store, known, options, frames_per_second)

    return read


def recognised(table: Path) -> DatasetInfo:
    """The data set that an annotation file belongs to.

    Raises:
        UsageError: none; lists the known forms.
    """
    if not table.is_file():
        raise UsageError(f"{table}: no such file")
    formats = {name: info.annotations for name, info in sorted(DATASETS.items())}
    known = {name: form for name, form in formats.items() if form is not None}
    for name, form in known.items():
        if form.fits(table):
            return DATASETS[name]
    columns = ", ".join(filter(None, read_header(table)[:20]))
    found = f"found a CSV with {columns}" if columns else "found no CSV with a header"
    forms = "; ".join(f"{name} ({form.form})" for name, form in known.items())
    raise UsageError(
        f"{table}: expected a CSV with {PLAIN}, or the annotation file of one of these data sets: "
        f"{forms}; {found}"
    )


def _read(
    info: DatasetInfo,
    table: Path,
    store: Store,
    known: Collection[str],
    options: Mapping[str, str],
    frames_per_second: float | None,
) -> SegmentsFile:
    assert info.annotations is not None
    content = info.annotations.read(table, options)
    names = _Names(known)
    by_recording: dict[str, list[ListedSegment]] = {}
    elsewhere: set[str] = set()
    for recordings in content.unsegmented:
        if found := names.find(recordings):
            by_recording.setdefault(found, [])
    for segment in content.segments:
        found = names.find(segment.recordings)
        if found:
            by_recording.setdefault(found, []).append(segment)
        else:
            elsewhere.add(segment.recordings[0])
    if not by_recording:
        raise UsageError(
            f"{table}: annotations of {info.name}, of none of the store's recordings: it names "
            f"{listed(sorted(elsewhere))}; the store has {listed(sorted(known))}"
        )
    rows, notes = positive(_rows(table, store, by_recording, frames_per_second))
    notes = [f"annotations of {info.name}", *content.notes, *notes]
    if elsewhere:
        notes.append(
            f"{counted(len(elsewhere), 'recording')} of {table.name} not in the store: "
            f"{listed(sorted(elsewhere))}"
        )
    return SegmentsFile(rows, frozenset(by_recording), notes)


def _rows(
    table: Path,
    store: Store,
    by_recording: Mapping[str, Sequence[ListedSegment]],
    frames_per_second: float | None,
) -> list[SegmentRow]:
    window_of = {split_window(stored_id)[0]: stored_id for stored_id in store.ids}
    rows: list[SegmentRow] = []
    unread: list[str] = []
    for recording, segments in by_recording.items():
        if not segments:
            continue
        if frames_per_second is not None:
            frames = {one for each in segments for one in (each.start_frame, each.end_frame)}
            seconds = {one: one / frames_per_second for one in frames if one is not None}
            rows += timed(recording, segments, seconds)
            continue
        source = Path(store.record(window_of[recording]).source)
        rate = segments[0].frames_per_second if source.is_dir() else None
        try:
            rows += segment_rows(recording, segments, source, rate)
        except VideoError:
            unread.append(str(source))
    if unread:
        raise UsageError(
            f"{table} gives segments by frame number, and {counted(len(unread), 'video')} cannot "
            f"be read for the times of their frames (e.g. {unread[0]}); give the frame rate that "
            "the recordings have, e.g. --fps 30"
        )
    return rows


class _Names:
    """Finds recordings of a store by what an annotation file calls them."""

    def __init__(self, known: Collection[str]) -> None:
        self._plain = {_plain(recording): recording for recording in known}
        self._by_end: dict[str, set[str]] = defaultdict(set)
        for plain, recording in self._plain.items():
            for end in _ends(plain):
                self._by_end[end].add(recording)
        self._taken: dict[str, str] = {}

    def find(self, names: Sequence[str]) -> str:
        """The recording that has one of several names; "" for none.

        Raises:
            UsageError: several recordings have it, or it was found by another name before.
        """
        for name in names:
            found = self._find(name)
            if found:
                if self._taken.setdefault(found, names[0]) != names[0]:
                    raise UsageError(
                        f"the recording {found!r} of the store may be {self._taken[found]!r} and "
                        f"{names[0]!r} of the annotation file; extract with a --root further up, "
                        "so that ids tell them apart"
                    )
                return found
        return ""

    def _find(self, name: str) -> str:
        plain = _plain(name)
        if plain in self._plain:
            return self._plain[plain]
        found = self._by_end.get(plain, set())
        if len(found) > 1:
            raise UsageError(
                f"several recordings of the store may be {name!r} of the annotation file: "
                f"{listed(sorted(found))}"
            )
        if found:
            return next(iter(found))
        return next((self._plain[end] for end in _ends(plain) if end in self._plain), "")


def _plain(name: str) -> str:
    """Without a video's ending."""
    return split_name(name)[0] if is_video(name) else name


def _ends(plain: str) -> list[str]:
    parts = PurePosixPath(plain).parts
    return ["/".join(parts[start:]) for start in range(len(parts))]
