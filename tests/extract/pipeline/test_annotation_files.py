"""`store labels --segments` with the annotation file of a data set, each in its official form."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from official_roots import write
from recording_store import SPEC, step_tokens, window_store

from stepcli.cache import open_store
from stepcli.cache.maintenance.segments import SegmentsPlan, take_segments
from stepcli.cache.schema.clips import SegmentRow
from stepcli.cache.store.store import Store
from stepcli.extract.pipeline.annotation_files import recognised, segments_reader
from stepcli.runtime.errors import StepcliError, UsageError

DRIVEACT = """\
participant_id,file_id,annotation_id,frame_start,frame_end,activity,chunk_id
1,vp1/run1.kinect_color,0,0,25,opening_bottle,0
1,vp1/run1.kinect_color,0,25,40,opening_bottle,1
1,vp1/run1.kinect_color,1,50,75,closing_bottle,0
"""
EPIC = """\
narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,\
start_frame,stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes
P01_01_0,P01,P01_01,00:00:00.100,00:00:00.00,00:00:01.50,1,90,open door,open,3,door,3,\
"['door', 'door:fridge']","[3, 3]"
P01_01_1,P01,P01_01,00:00:01.900,00:00:02.00,00:00:03.00,120,180,close it,shut,4,door,3,['door'],[3]
"""
CHARADES = """\
id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length
AO8RW,HR43,Kitchen,7,7,Yes,"A person, at a door.",door,opens it,\
c008 0.00 1.60;c006 1.20 3.00;c008 2.00 1.00,4.00
B0000,HR43,Kitchen,7,7,Yes,Nothing.,,,,4.00
"""
CHARADES_CLASSES = "c006 Closing a door\nc008 Opening a door\n"


def ikea(path: Path) -> None:
    database = sqlite3.connect(path)
    database.executescript("""
        CREATE TABLE videos (id INTEGER, video_name TEXT, video_path TEXT, furniture TEXT,
            nframes INTEGER, camera TEXT, annotated BOOLEAN);
        CREATE TABLE annotations (video_id INTEGER, atomic_action_id INTEGER, object_id INTEGER,
            starting_frame INTEGER, ending_frame INTEGER);
        INSERT INTO videos VALUES
            (1, 'a', 'Lack_TV_Bench/0001_a/dev3/images', 'Lack TV Bench', 100, 'dev3', 1),
            (2, 'b', 'Lack_TV_Bench/0002_b/dev3/images', 'Lack TV Bench', 100, 'dev3', 1);
        INSERT INTO annotations VALUES
            (1, 1, 1, 0, 40), (1, 5, 1, 50, 75), (1, 9, 9, 80, 90), (2, 1, 1, 0, 9);
    """)
    database.close()


def driveact_root(root: Path) -> Path:
    tables = {
        f"activities_3s/kinect_color/midlevel.chunks_90.split_0.{split}.csv": text
        for split, text in (
            ("train", DRIVEACT),
            ("val", DRIVEACT.splitlines()[0] + "\n2,vp2/x.kinect_color,0,0,9,eating,0\n"),
            ("test", DRIVEACT.splitlines()[0] + "\n3,vp3/x.kinect_color,0,0,9,eating,0\n"),
        )
    }
    write(root, tables)
    return root / next(iter(tables))


def ikea_root(root: Path) -> Path:
    write(
        root,
        {
            "indexing_files/atomic_action_list.txt": "pick up leg\nspin leg\n",
            "indexing_files/action_object_relation_list.txt": "1 1\n5 1\n",
            "indexing_files/train_cross_env.txt": "Lack_TV_Bench/0001_a\n",
            "indexing_files/test_cross_env.txt": "Lack_TV_Bench/0002_b\n",
        },
    )
    base = root / "annotations/action_annotations/ikea_annotation_db_full"
    base.parent.mkdir(parents=True)
    ikea(base)
    return base


def epic_root(root: Path) -> Path:
    header = EPIC.splitlines()[0] + "\n"
    write(
        root,
        {
            "annotations/EPIC_100_verb_classes.csv": "id,key\n3,open\n4,close\n",
            "annotations/EPIC_100_noun_classes.csv": "id,key\n3,door\n",
            "annotations/EPIC_100_train.csv": EPIC,
            "annotations/EPIC_100_validation.csv": header,
        },
    )
    return root / "annotations/EPIC_100_train.csv"


def charades_root(root: Path) -> Path:
    write(
        root,
        {
            "Charades_v1_classes.txt": CHARADES_CLASSES,
            "Charades_v1_train.csv": CHARADES,
            "Charades_v1_test.csv": CHARADES.splitlines()[0] + "\n",
        },
    )
    return root / "Charades_v1_train.csv"


ROOTS: dict[str, tuple[Callable[[Path], Path], str, list[tuple[float, float, str]]]] = {
    "driveact": (
        driveact_root,
        "kinect_color/vp1/run1.kinect_color.mp4",
        # The two chunks of one annotation are one segment.
        [(0, 1.6, "opening_bottle"), (2, 3, "closing_bottle")],
    ),
    "ikea_asm": (
        ikea_root,
        "Lack_TV_Bench/0001_a/dev3/images/scan_video.avi",
        [(0, 1.6, "pick up leg"), (2, 3, "spin leg")],
    ),
    "epic-kitchens": (
        epic_root,
        "P01/videos/P01_01.MP4",
        [(0, 1.5, "open"), (2, 3, "close")],
    ),
    "charades": (
        charades_root,
        "Charades_v1_480/AO8RW.mp4",
        [(0, 1.6, "Opening a door"), (1.2, 3, "Closing a door")],
    ),
}


def told(store: Store) -> list[tuple[float, float, str]]:
    return [
        (pytest.approx(row.start_seconds), pytest.approx(row.end_seconds), row.label)
        for row in sorted(store.segments(), key=lambda row: row.start_seconds)
    ]


def take(store: Store, table: Path, **options: str) -> SegmentsPlan:
    return take_segments(store.path, table, read=segments_reader(options))


@pytest.mark.parametrize("name", ROOTS)
def test_the_file_alone_gives_what_extraction_reads_with_its_data_set(
    name: str,
    extract: Callable[..., int],
    write_numbered: Callable[..., Path],
    tmp_path: Path,
) -> None:
    make, video, expected = ROOTS[name]
    root = tmp_path / "root"
    table = make(root)
    (root / video).parent.mkdir(parents=True)
    write_numbered(root / video, 100)
    settings: dict[str, Any] = {"dataset": name, "root": root, "windows": "4@5fps", "frames": 4}
    extract(**settings)  # videos that are listed and not here are quarantined
    store = open_store(tmp_path / "store")
    recording = Path(video).with_suffix("").as_posix()
    listed = [row for row in store.segments() if row.recording == recording]
    labels = {row.id: row.label for row in store.clips()}
    store.change_segments(lambda _: [])
    take(store, table)
    mine = open_store(store.path)
    assert mine.segments() == listed
    assert {row.id: row.label for row in mine.clips()} == labels
    assert told(mine) == expected


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two recordings of 8 steps, two a second, in windows of 4; their videos are not here."""
    return window_store(
        tmp_path / "store",
        {name: step_tokens(name, 8, SPEC) for name in ("kitchen/P01_01.MP4", "vp1/run1")},
    )


def test_segments_by_frames_need_the_videos_or_their_rate(store: Store, tmp_path: Path) -> None:
    table = tmp_path / "d.csv"
    table.write_text(DRIVEACT.replace(".kinect_color", ""))
    with pytest.raises(UsageError, match=r"by frame number.*--fps 30"):
        take(store, table)
    taken = take_segments(store.path, table, read=segments_reader({}, 25.0))
    assert (taken.segments, taken.recordings) == (2, 1)
    assert told(store) == [(0, 1.6, "opening_bottle"), (2, 3, "closing_bottle")]


def test_names_match_by_their_end_and_options_are_the_data_sets(
    store: Store, tmp_path: Path
) -> None:
    table = epic_root(tmp_path / "root")
    more = table.read_text() + table.read_text().splitlines()[2].replace("P01_01", "P02_09") + "\n"
    table.write_text(more)
    taken = take(store, table)
    assert [row.recording for row in store.segments()] == ["kitchen/P01_01.MP4"] * 2
    assert any(
        "1 recording of EPIC_100_train.csv not in the store: P02_09" in n for n in taken.notes
    )
    take(store, table, target="noun")
    assert {row.label for row in store.segments()} == {"door"}
    with pytest.raises(StepcliError, match="unknown option of the data set epic-kitchens 'view'"):
        take(store, table, view="dev1")
    (table.parent / "EPIC_100_verb_classes.csv").unlink()
    with pytest.raises(UsageError, match=r"needs EPIC_100_verb_classes.csv \(class names\)"):
        take(store, table)


def test_a_recording_without_an_action_is_all_background(tmp_path: Path) -> None:
    store = window_store(tmp_path / "s", {n: step_tokens(n, 8, SPEC) for n in ("AO8RW", "B0000")})
    store.change_segments(lambda _: [SegmentRow("B0000", 0, 4, "stale")])
    taken = take(store, charades_root(tmp_path / "root"))
    assert (taken.segments, taken.recordings, taken.windows) == (2, 2, 6)
    assert any("1 segment left out, of no length" in note for note in taken.notes)
    labels = {row.id: row.label for row in open_store(store.path).clips()}
    assert {label for name, label in labels.items() if name.startswith("B")} == {"background"}
    # Where both happen, the one that began last: 1.5 s.
    assert labels["AO8RW@w000001"] == "Closing a door"


def test_a_name_that_fits_two_recordings_is_refused(tmp_path: Path) -> None:
    tokens = {name: step_tokens(name, 8, SPEC) for name in ("a/AO8RW", "b/AO8RW")}
    table = charades_root(tmp_path / "root")
    with pytest.raises(UsageError, match="several recordings of the store may be 'AO8RW'"):
        take(window_store(tmp_path / "two", tokens), table)
    driveact = tmp_path / "d.csv"
    driveact.write_text(DRIVEACT + "2,vp2/run1.kinect_color,0,0,9,eating,0\n")
    store = window_store(tmp_path / "one", {"run1.kinect_color": step_tokens("r", 8, SPEC)})
    with pytest.raises(UsageError, match=r"may be 'vp1/run1\.kinect_color' and 'vp2/run1"):
        take(store, driveact)
    other = window_store(tmp_path / "other", {"mine": step_tokens("m", 8, SPEC)})
    with pytest.raises(UsageError, match="of none of the store's recordings: it names AO8RW"):
        take(other, table)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"video,begin,finish,what\n", "found a CSV with video, begin, finish, what"),
        (b"SQLite format 3\0 and no more", "found no CSV"),
        (b"\x80\x04 a pickle", "found no CSV"),
        (b"", "found no CSV"),
    ],
)
def test_a_file_of_no_known_form_lists_the_known_ones(
    store: Store, tmp_path: Path, content: bytes, found: str
) -> None:
    table = tmp_path / "t"
    table.write_bytes(content)
    with pytest.raises(UsageError, match=found) as refused:
        take(store, table)
    for known in ("recording, start_seconds", "charades (CSV with id, subject, actions)"):
        assert known in str(refused.value)
    for name in ROOTS:
        assert f"{name} (" in str(refused.value)
    assert store.segments() == []


def test_files_are_recognised_and_a_plain_csv_takes_no_option(store: Store, tmp_path: Path) -> None:
    for name, (make, *_) in ROOTS.items():
        assert recognised(make(tmp_path / name)).name == name
    with pytest.raises(UsageError, match="no such file"):
        take(store, tmp_path / "nowhere.csv")
    table = tmp_path / "own.csv"
    table.write_text("recording,start_seconds,end_seconds,label\nvp1/run1,0,1,x\n")
    with pytest.raises(UsageError, match="not a data set's annotation file"):
        take(store, table, target="noun")
    assert take(store, table).segments == 1
