"""Labels on time: rules for overlaps and background, files of segments, and where they are kept."""

from pathlib import Path

import numpy as np
import pytest
from recording_store import SPEC, step_tokens, window_store

from stepcli.cache import open_store
from stepcli.cache.maintenance.convert import convert_store
from stepcli.cache.maintenance.segment_ends import OpenSegment, end_warnings
from stepcli.cache.maintenance.segments import add_segments, label_windows, take_segments
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.clips import SegmentRow
from stepcli.cache.schema.segments import BACKGROUND, labels_at
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import UsageError


def segment(start: float, end: float, label: str) -> SegmentRow:
    return SegmentRow("r", start, end, label)


@pytest.mark.parametrize(
    ("segments", "seconds", "labels"),
    [
        ([], [0.0, 1.0], [BACKGROUND, BACKGROUND]),
        ([segment(1, 2, "a")], [0.99, 1.0, 1.99, 2.0], [BACKGROUND, "a", "a", BACKGROUND]),
        # The one that began last lies above, in whatever order they are listed.
        ([segment(0, 9, "a"), segment(2, 4, "b")], [1, 3, 5], ["a", "b", "a"]),
        ([segment(2, 4, "b"), segment(0, 9, "a")], [1, 3, 5], ["a", "b", "a"]),
        # Begun together: the one that ends first; then the one that is listed first.
        ([segment(0, 5, "a"), segment(0, 2, "b")], [1, 3], ["b", "a"]),
        ([segment(0, 2, "b"), segment(0, 5, "a")], [1, 3], ["b", "a"]),
        ([segment(0, 2, "a"), segment(0, 2, "b")], [1], ["a"]),
        # Annotations are rounded: 1/3 is written 0.333334.
        ([segment(0.3333335, 0.6666665, "a")], [1 / 3, 2 / 3], ["a", BACKGROUND]),
    ],
)
def test_a_moment_has_one_label(
    segments: list[SegmentRow], seconds: list[float], labels: list[str]
) -> None:
    assert labels_at(segments, seconds) == labels


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two recordings of 10 and 3 steps, two a second, in windows of 4."""
    tokens = {name: step_tokens(name, steps, SPEC) for name, steps in (("a/r", 10), ("s", 3))}
    return window_store(tmp_path / "store", tokens)


def write(
    path: Path, *lines: str, header: str = "recording,start_seconds,end_seconds,label"
) -> Path:
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


def labels_of(store: Store) -> dict[str, str]:
    return {row.id: row.label for row in open_store(store.path).clips()}


def test_windows_take_the_label_of_their_middle(store: Store, tmp_path: Path) -> None:
    # Middles of a/r's windows: 1, 2, 3 and, of the last, 4 s; s has one, at 1 s.
    table = write(tmp_path / "t.csv", "a/r.mp4,0.5,2,open", "a/r,3,9,close", "s,0,1,open")
    taken = take_segments(store.path, table)
    assert labels_of(store) == {
        "a/r@w000000": "open",
        "a/r@w000001": BACKGROUND,
        "a/r@w000002": "close",
        "a/r@w000003": "close",
        "s@w000000": BACKGROUND,
    }
    assert (taken.segments, taken.recordings, taken.windows) == (3, 2, 5)
    assert (taken.background, taken.changed) == (2, 5)
    assert len(open_store(store.path).segments()) == 3
    again = take_segments(store.path, table)
    assert again.changed == 0


def test_a_recording_that_the_file_does_not_name_stays(store: Store, tmp_path: Path) -> None:
    take_segments(store.path, write(tmp_path / "t.csv", "a/r,0,9,open", "s,0,9,close"))
    header = "path,start,end,label"
    taken = take_segments(store.path, write(tmp_path / "t.csv", "s.mp4,0,9,open", header=header))
    assert taken.notes
    assert set(labels_of(store).values()) == {"open"}


def test_a_dry_run_changes_nothing(store: Store, tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "a/r,0,9,open")
    assert take_segments(store.path, table, dry_run=True).windows == 4
    assert set(labels_of(store).values()) == {""}
    assert open_store(store.path).segments() == []


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["x,0,1,a"], "'x'"),
        (["s,1,1,a"], "line 4: the segment ends at 1"),
        (["s,one,2,a"], "numbers of seconds"),
        (["s,0,nan,a"], "ends at nan"),
        (["s,0,2,"], "the label is empty"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_taken(
    store: Store, tmp_path: Path, lines: list[str], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        take_segments(store.path, write(tmp_path / "t.csv", "a/r,0,1,a", "", *lines))
    assert open_store(store.path).segments() == []


def test_segments_beyond_the_end_are_taken_with_a_warning(store: Store, tmp_path: Path) -> None:
    # a/r has 5 s, s has 1.5 s.
    lines = ("a/r,1,2,x", "a/r,4,6,x", "s,0.5,2.6,y", "a/r,5,6,x", "s,90,95,z", "a/r,3,9,x")
    table = write(tmp_path / "t.csv", *lines)
    expected = (
        "2 segments beyond the end of the recording, where no frame is (first: 'x' in a/r, 5 to "
        "6 s; the recording has 5 s)",
        "2 segments more than 1 s too long for the recording (first: 'y' in s, 0.5 to 2.6 s; the "
        "recording has 1.5 s)",
    )
    assert take_segments(store.path, table, dry_run=True).warnings == expected
    taken = take_segments(store.path, table)
    assert (taken.segments, taken.warnings) == (6, expected)
    one = write(tmp_path / "t.csv", "s,90,95,z")
    assert take_segments(store.path, one).warnings[0].startswith("1 segment beyond the end")


def test_segments_that_fit_give_no_warning(store: Store, tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "a/r,4,6,x", "s,1.4,1.5,x")
    assert take_segments(store.path, table).warnings == ()
    assert end_warnings(store, [OpenSegment("s", 1, 1e6, "x")]) == ()
    assert len(end_warnings(store, [OpenSegment("s", 2, 1e6, "x")])) == 1
    assert end_warnings(store, [SegmentRow("unknown", 2, 3, "x")]) == ()


def test_other_columns_are_refused_with_the_way_out(store: Store, tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "1,2,3", header="file_id,frame_start,label")
    with pytest.raises(UsageError, match=r"the columns recording.*found file_id"):
        take_segments(store.path, table)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_spreadsheets_write_other_separators(store: Store, tmp_path: Path, separator: str) -> None:
    lines = ("recording,start,end,label", "s,0,9,open")
    header, line = (text.replace(",", separator) for text in lines)
    table = write(tmp_path / "t.csv", line, header=header)
    assert take_segments(store.path, table).segments == 1


def test_added_segments_never_replace_what_is_there(store: Store) -> None:
    assert add_segments(store, [SegmentRow("s", 0, 2, "mine")]) == 1
    assert add_segments(store, [SegmentRow("s", 0, 1, "x"), SegmentRow("a/r", 0, 1, "y")]) == 1
    assert [row.label for row in store.segments()] == ["mine", "y"]
    label_windows(store, ["s"])
    store.change_segments(lambda _: [SegmentRow("s", 0, 2, "other")])
    assert label_windows(store, ["s"], only_blank=True)[2] == 0
    assert labels_of(store)["s@w000000"] == "mine"


def test_segments_are_verified_restored_and_copied(store: Store, tmp_path: Path) -> None:
    take_segments(store.path, write(tmp_path / "t.csv", "a/r,0,9,open"))
    assert verify_store(store.path).ok
    convert_store(store.path, tmp_path / "copy", form="hdf5")
    assert open_store(tmp_path / "copy").segments() == store.segments()
    file = tmp_path / "store" / "segments.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    report = verify_store(store.path)
    assert [problem.place for problem in report.problems] == ["segments.parquet"]


def test_a_store_without_segments_is_as_before(store: Store) -> None:
    assert store.segments() == []
    assert verify_store(store.path).ok
    assert not (Path(str(store.path)) / "segments.parquet").exists()
    assert np.array_equal(store.read(["s@w000000"])[0][3], store.read(["s@w000000"])[0][2])
