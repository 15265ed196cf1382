"""`jester`: 148,092 clips of 27 hand gestures (Materzynska et al., ICCV workshops 2019).

Checked (2026-11) against several public readers of version 1: jester-v1-{train,validation}.csv with
"<id>;<class>" per line and no header, jester-v1-labels.csv with a class per line,
20bn-jester-v1/<id>/ of JPEGs, lists beside it or in annotations/ or labels/.
"""

from collections.abc import Mapping
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import read_lines
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.videos import Videos
from stepcli.runtime.csv_tables import read_rows
from stepcli.runtime.errors import UsageError

PAIRS = (
    ("Swiping Left", "Swiping Right"),
    ("Swiping Down", "Swiping Up"),
    ("Pushing Hand Away", "Pulling Hand In"),
    ("Sliding Two Fingers Left", "Sliding Two Fingers Right"),
    ("Sliding Two Fingers Down", "Sliding Two Fingers Up"),
    ("Pushing Two Fingers Away", "Pulling Two Fingers In"),
    ("Rolling Hand Forward", "Rolling Hand Backward"),
    ("Turning Hand Clockwise", "Turning Hand Counterclockwise"),
    ("Zooming In With Full Hand", "Zooming Out With Full Hand"),
    ("Zooming In With Two Fingers", "Zooming Out With Two Fingers"),
)
MIRRORS = (
    ("Swiping Left", "Swiping Right"),
    ("Sliding Two Fingers Left", "Sliding Two Fingers Right"),
    ("Turning Hand Clockwise", "Turning Hand Counterclockwise"),
)


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read the official lists; clips are folders of JPEGs (12 frames per second) or .webm files."""
    del options
    checklist = Checklist("jester", root)

    def find(stem: str, purpose: str) -> Path:
        name = f"jester-v1-{stem}.csv"
        return checklist.file(name, f"annotations/{name}", f"labels/{name}", purpose=purpose)

    labels = find("labels", "class names")
    lists = {
        "train": find("train", "training clips"),
        "val": find("validation", "validation clips"),
    }
    folder = checklist.folder("20bn-jester-v1", "videos", purpose="<id>/ of JPEGs, or <id>.webm")
    checklist.require()
    videos = Videos(folder)
    names = read_lines(labels)
    clips = []
    for split, table in lists.items():
        for number, label, *_ in read_rows(table, 2, ";"):
            if label not in names:
                raise UsageError(
                    f"{table}: clip {number} has the class {label!r}, unknown to {labels}"
                )
            frames = folder / number
            if frames.is_dir():
                clip = Clip(number, frames, label, split, group=number, frames_per_second=12.0)
            else:
                clip = Clip(number, videos.find(f"{number}.webm"), label, split, group=number)
            clips.append(clip)
    classes = class_rows(names, partners=PAIRS, mirrors=MIRRORS)
    return Dataset("jester", tuple(clips), classes, videos.notes())


INFO = DatasetInfo(
    name="jester",
    load=load,
    layout="""\
<root>/jester-v1-labels.csv                 27 class names, one per line
<root>/jester-v1-{train,validation}.csv     "<id>;<class>" a line
    (or in <root>/annotations/ or <root>/labels/)
<root>/20bn-jester-v1/<id>/00001.jpg ...    12 frames per second; or <id>.webm (folder: videos)
The test split's labels were never published.""",
    source="https://www.qualcomm.com/developer/software/jester-dataset",
)
