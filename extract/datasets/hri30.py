"""`hri30`: HRI30 (Iodice et al., ICPR 2022), 30 actions beside an industrial robot, 2,940 clips.

Checked (2026-11) against several public repositories that train on it: annotations/
train_set_labels.csv without a header, "<video>.avi,<class>" a line; train_set/ and test_set/ with
all videos in one folder; the test labels are kept back by the authors; the spelling of the classes
that are in the pairs below, from two lists of all 30. Not checked: the authors' archive itself.
"""

from collections.abc import Mapping
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.videos import Videos
from stepcli.runtime.csv_tables import read_rows

_TOOLS = ("Drill", "Polisher")
_DOING = ("Drilling", "Polishing")
PAIRS = (
    *((f"PickUp{tool}", f"PutDown{tool}") for tool in _TOOLS),
    *((f"MoveForwardWhile{doing}", f"MoveBackwardsWhile{doing}") for doing in _DOING),
    *((f"MoveLeftWhile{doing}", f"MoveRightWhile{doing}") for doing in _DOING),
    *(
        (f"MoveDiagonallyForward{side}With{tool}", f"MoveDiagonallyBackward{other}With{tool}")
        for tool in _TOOLS
        for side, other in (("Left", "Right"), ("Right", "Left"))
    ),
)
MIRRORS = (
    *((f"MoveLeftWhile{doing}", f"MoveRightWhile{doing}") for doing in _DOING),
    *(
        (f"MoveDiagonally{way}LeftWith{tool}", f"MoveDiagonally{way}RightWith{tool}")
        for tool in _TOOLS
        for way in ("Forward", "Backward")
    ),
)


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read the training labels, and the test labels where a user has them."""
    del options
    checklist = Checklist("hri30", root)
    table = checklist.file(
        "annotations/train_set_labels.csv", "train_set_labels.csv", purpose="video,class a line"
    )
    folder = checklist.folder("train_set", purpose="the training videos, .avi")
    checklist.require()
    found = Videos(root)
    clips = _clips(table, found, folder.name, "train")
    answers = root / "annotations" / "test_set_labels.csv"
    notes: tuple[str, ...] = ()
    if answers.is_file() and (root / "test_set").is_dir():
        clips += _clips(answers, found, "test_set", "test")
    else:
        notes = (
            "no annotations/test_set_labels.csv with test_set/: only the training videos are taken",
        )
    names = sorted({clip.label for clip in clips})
    classes = class_rows(names, partners=PAIRS, mirrors=MIRRORS)
    return Dataset("hri30", tuple(clips), classes, (*notes, *found.notes()))


def _clips(table: Path, videos: Videos, folder: str, split: str) -> list[Clip]:
    made = []
    for video, label, *_ in read_rows(table, 2):
        stem = video.strip().removesuffix(".avi")
        path = videos.find(f"{folder}/{stem}.avi")
        made.append(Clip(f"{split}/{stem}", path, label.strip(), split, group=stem))
    return made


INFO = DatasetInfo(
    name="hri30",
    load=load,
    layout="""\
<root>/annotations/train_set_labels.csv    "<video>,<class>" a line, no header
<root>/train_set/<video>.avi
<root>/annotations/test_set_labels.csv     the same for the test videos (optional)
<root>/test_set/<video>.avi
(read off public code that uses the data set; not checked against the authors' archive)""",
    source="https://zenodo.org/records/5833411",
)
