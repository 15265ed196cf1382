"""`ikea_asm`: IKEA ASM (Ben-Shabat et al., WACV 2021), people assembling furniture.

Checked (2026-11) against the authors' own public code: the tables videos (video_path, camera,
annotated) and annotations (atomic_action_id, object_id, starting_frame, ending_frame), the two
action lists line by line, the cross-environment lists. Not checked: the archive itself.

Segments of long videos; annotations in an SQLite file that names every camera's videos. Only
annotated segments become clips, so this is segment-wise recognition on 32 classes; published
frame-wise figures, with the background class NA as the 33rd, are not comparable.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from stepcli.cache.errors import UsageError
from stepcli.extract.datasets.checklist import Checklist
from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import read_lines

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
    names = read_lines(lists["atomic_action_list"])
    relations = [
        tuple(map(int, line.split())) for line in read_lines(lists["action_object_relation_list"])
    ]
    if len(names) != len(relations):
        raise UsageError(
            f"{lists['action_object_relation_list']}: expected a line for each of the "
            f"{len(names)} classes, found {len(relations)}"
        )
    label_of = dict(zip(relations, names, strict=True))
    split_of = {
        scan: split
        for split, name in (("train", "train_cross_env"), ("test", "test_cross_env"))
        for scan in read_lines(lists[name])
    }
    clips, unknown = [], 0
    with closing(sqlite3.connect(f"{base.absolute().as_uri()}?mode=ro", uri=True)) as database:
        for path, start, end, action, thing in _segments(base, database):
            scan = "/".join(Path(path).parts[:2])
            label = label_of.get((action, thing))
            if label is None:
                unknown += 1
            elif scan in split_of:
                # Annotated on the top camera; the others ran in step with it.
                folder = root / scan / camera / "images"
                clips.append(
                    Clip(
                        id=f"{scan}/{start}-{end}/{label}",
                        path=folder / "scan_video.avi",
                        label=label,
                        split=split_of[scan],
                        start_frame=start,
                        end_frame=max(end, start + 1),
                        group=scan,
                        view=camera,
                    )
                )
    notes = (f"{unknown} annotated segments are of no listed class and are left out",)
    classes = class_rows(sorted(names), partners=PAIRS)
    return Dataset("ikea_asm", tuple(dict.fromkeys(clips)), classes, notes if unknown else ())


def _segments(base: Path, database: sqlite3.Connection) -> list[tuple[str, int, int, int, int]]:
    """Path of the top camera's video, first frame, frame after the last, verb, object."""
    query = """
        SELECT videos.video_path, starting_frame, ending_frame, atomic_action_id, object_id
        FROM annotations JOIN videos ON videos.id = annotations.video_id
        WHERE videos.annotated = 1 AND videos.camera = 'dev3'
        ORDER BY videos.video_path, starting_frame, ending_frame
    """
    try:
        return database.execute(query).fetchall()
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{base}: not the annotation data base of IKEA ASM ({error})") from error


INFO = DatasetInfo(
    name="ikea_asm",
    load=load,
    layout="""\
<root>/ikea_annotation_db_full            SQLite with the tables videos and annotations
<root>/atomic_action_list.txt             32 class names, one a line
<root>/action_object_relation_list.txt    "<verb id> <object id>" of each class, one a line
<root>/{train,test}_cross_env.txt         "<furniture>/<scan>" a line
    (the lists may lie in <root>/indexing_files/)
<root>/<furniture>/<scan>/<dev1|dev2|dev3>/images/scan_video.avi
Report top-1 and macro recall, segment-wise; NA (background) is not among the clips.""",
    source="https://ikeaasm.github.io",
    options={"view": "dev3, the top camera (default), dev1 or dev2"},
)
