"""`ikea_asm`: IKEA ASM (Ben-Shabat et al., WACV 2021), people assembling furniture.

Checked (2026-11) against the authors' own public code: the tables videos (video_path, camera,
annotated) and annotations (atomic_action_id, object_id, starting_frame, ending_frame; the ending
frame not included), the two action lists line by line, the cross-environment lists, and both forms
of the videos: images/scan_video.avi, or what their tools make of it, images/000000.jpg and so on
beside each other, numbered from 0, at 25 a second. Not checked: the archive itself.

Segments of long videos; annotations in an SQLite file that names every camera's videos. Annotated
segments become clips: segment-wise recognition on 32 classes; with the option na=yes the stretches
between them are clips of a 33rd class, NA. Published frame-wise figures are not comparable.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import read_lines
from stepcli.extract.datasets.images import has_images
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.segment_files import (
    AnnotationFormat,
    Annotations,
    ListedSegment,
    beside,
)
from stepcli.extract.datasets.videos import Videos
from stepcli.runtime.errors import UsageError

FRAMES_PER_SECOND = 25.0
NA = "NA"
PAIRS = tuple(
    (f"pick up {part}", f"lay down {part}")
    for part in (
        *("leg", "table top", "shelf", "side panel"),
        *("front panel", "back panel", "bottom panel"),
    )
)


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read the annotation data base and the cross-environment split."""
    camera = INFO.option(options, "view", "dev3", "dev1", "dev2", "dev3")
    with_na = INFO.option(options, "na", "no", "no", "yes") == "yes"
    checklist = Checklist("ikea_asm", root)
    base = checklist.file(
        "ikea_annotation_db_full",
        "annotations/action_annotations/ikea_annotation_db_full",
        purpose="annotations (SQLite)",
    )
    lists = {
        name: checklist.file(f"{name}.txt", f"indexing_files/{name}.txt", purpose=purpose)
        for name, purpose in {
            "atomic_action_list": "classes",
            "action_object_relation_list": "verb and object of each class",
            "train_cross_env": "training scans",
            "test_cross_env": "test scans",
        }.items()
    }
    checklist.require()
    label_of = _labels(lists["atomic_action_list"], lists["action_object_relation_list"])
    split_of = {
        scan: split
        for split, name in (("train", "train_cross_env"), ("test", "test_cross_env"))
        for scan in read_lines(lists[name])
    }
    clips, unknown = [], 0
    videos = Videos(root)
    for scan, known, others in _scans(base, label_of, with_na=with_na):
        if scan not in split_of:
            continue
        unknown += others
        # Annotated on the top camera; the others ran in step with it.
        footage, rate = _footage(root, videos, f"{scan}/{camera}/images")
        clips += [
            Clip(
                id=f"{scan}/{camera}/{start}-{end}/{label}",
                path=footage,
                label=label,
                split=split_of[scan],
                start_frame=start,
                end_frame=max(end, start + 1),
                group=scan,
                view=camera,
                frames_per_second=rate,
            )
            for start, end, label in known
        ]
    notes = (*_unlisted(unknown), *videos.notes())
    # The authors' order: by name, NA before them.
    names = sorted(read_lines(lists["atomic_action_list"]))
    classes = class_rows([*([NA] if with_na else []), *names], partners=PAIRS)
    return Dataset("ikea_asm", tuple(dict.fromkeys(clips)), classes, notes)


def _labels(actions: Path, relations: Path) -> dict[tuple[int, ...], str]:
    """Verb and object -> class."""
    names = read_lines(actions)
    pairs = [tuple(map(int, line.split())) for line in read_lines(relations)]
    if len(names) != len(pairs):
        raise UsageError(
            f"{relations}: expected a line for each of the {len(names)} classes, found {len(pairs)}"
        )
    return dict(zip(pairs, names, strict=True))


def _unlisted(count: int) -> tuple[str, ...]:
    text = f"{count} annotated segments are of no listed class and are left out"
    return (text,) if count else ()


def _scans(
    base: Path, label_of: Mapping[tuple[int, ...], str], *, with_na: bool
) -> Iterator[tuple[str, list[tuple[int, int, str]], int]]:
    """Each annotated scan, its segments (first frame, frame after the last, class), and how many
    more are of no listed class."""
    with closing(sqlite3.connect(f"{base.absolute().as_uri()}?mode=ro", uri=True)) as database:
        annotated = _videos(base, database)
    for path, count, segments in annotated:
        known = [
            (start, end, label_of[action, thing])
            for start, end, action, thing in segments
            if (action, thing) in label_of
        ]
        unknown = len(segments) - len(known)
        if with_na:
            known += [(start, end, NA) for start, end in _between(known, count)]
        yield "/".join(Path(path).parts[:2]), sorted(known), unknown


def read_annotations(base: Path, options: Mapping[str, str]) -> Annotations:
    """Read the data base; the two lists of classes lie beside it or in indexing_files."""
    camera = INFO.option(options, "view", "dev3", "dev1", "dev2", "dev3")
    with_na = INFO.option(options, "na", "no", "no", "yes") == "yes"
    actions, relations = (
        beside(base, (f"{name}.txt", f"indexing_files/{name}.txt"), purpose)
        for name, purpose in (
            ("atomic_action_list", "classes"),
            ("action_object_relation_list", "verb and object of each class"),
        )
    )
    segments, without, unknown = [], [], 0
    for scan, known, others in _scans(base, _labels(actions, relations), with_na=with_na):
        images = f"{scan}/{camera}/images"
        names = (f"{images}/scan_video", images)
        unknown += others
        without += [] if known else [names]
        segments += [
            ListedSegment(
                names,
                label,
                start_frame=start,
                end_frame=max(end, start + 1),
                frames_per_second=FRAMES_PER_SECOND,
            )
            for start, end, label in known
        ]
    return Annotations(tuple(segments), tuple(without), _unlisted(unknown))


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                return False
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            tables = database.execute("SELECT name FROM sqlite_master").fetchall()
    except (OSError, sqlite3.DatabaseError):
        return False
    return {("videos",), ("annotations",)} <= set(tables)


def _videos(
    base: Path, database: sqlite3.Connection
) -> list[tuple[str, int, list[tuple[int, ...]]]]:
    """Path of each annotated video of the top camera, its frames, its segments: first frame, frame
    after the last, verb, object."""
    videos = "SELECT id, video_path, nframes FROM videos WHERE annotated = 1 AND camera = 'dev3'"
    segments = """
        SELECT starting_frame, ending_frame, atomic_action_id, object_id
        FROM annotations WHERE video_id = ? ORDER BY starting_frame, ending_frame
    """
    try:
        return [
            (path, count, database.execute(segments, (number,)).fetchall())
            for number, path, count in database.execute(f"{videos} ORDER BY video_path").fetchall()
        ]
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{base}: not the annotation data base of IKEA ASM ({error})") from error


def _between(segments: list[tuple[int, int, str]], count: int) -> list[tuple[int, int]]:
    """The stretches of a video of `count` frames in which nothing is annotated."""
    free, done = [], 0
    for start, end, _ in sorted(segments):
        if start > done:
            free.append((done, start))
        done = max(done, end)
    return [*free, (done, count)] if count > done else free


def _footage(root: Path, videos: Videos, images: str) -> tuple[Path, float | None]:
    """A scan's video, or its folder of frames with their rate where there is no video."""
    video = videos.find(f"{images}/scan_video.avi")
    if not video.is_file() and has_images(root / images):
        return root / images, FRAMES_PER_SECOND
    return video, None


INFO = DatasetInfo(
    name="ikea_asm",
    load=load,
    layout="""\
<root>/ikea_annotation_db_full            SQLite with the tables videos and annotations
<root>/atomic_action_list.txt             32 class names, one per line
<root>/action_object_relation_list.txt    "<verb id> <object id>" of each class, one per line
<root>/{train,test}_cross_env.txt         "<furniture>/<scan>" a line
    (the lists may be in <root>/indexing_files/)
<root>/<furniture>/<scan>/<dev1|dev2|dev3>/images/scan_video.avi
    or, where there is no video, its frames: images/000000.jpg, 000001.jpg ...
Report top-1 and macro recall, segment-wise, and say whether with NA.""",
    source="https://ikeaasm.github.io",
    options={
        "view": "dev3, the top camera (default), dev1 or dev2",
        "na": "no (default), or yes: the time between the actions is a 33rd class, NA",
    },
    annotations=AnnotationFormat(
        "SQLite with the tables videos and annotations", _is_database, read_annotations
    ),
)
