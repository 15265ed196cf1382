"""`ssv2`: Something-Something v2, 220,847 clips of 174 classes of hands doing something.

Layout and facts: the data set's own readme; Goyal et al., "The something something video
database", ICCV 2017 (arXiv 1706.04261).
"""

from collections.abc import Mapping
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import read_json
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.videos import Videos
from stepcli.runtime.csv_tables import read_rows
from stepcli.runtime.errors import UsageError

STRICT_PAIRS = (
    ("Closing something", "Opening something"),
    ("Folding something", "Unfolding something"),
    ("Covering something with something", "Uncovering something"),
    (
        "Moving something and something away from each other",
        "Moving something and something closer to each other",
    ),
    ("Moving something away from something", "Moving something closer to something"),
    ("Moving something away from the camera", "Moving something towards the camera"),
    ("Moving something down", "Moving something up"),
    ("Approaching something with your camera", "Moving away from something with your camera"),
    (
        "Turning the camera downwards while filming something",
        "Turning the camera upwards while filming something",
    ),
    (
        "Turning the camera left while filming something",
        "Turning the camera right while filming something",
    ),
    ("Putting something into something", "Taking something out of something"),
    # Pulling from the left, played backward, pushes from the right: the hand keeps its side.
    ("Pulling something from left to right", "Pushing something from right to left"),
    ("Pulling something from right to left", "Pushing something from left to right"),
)
"""Played backward, a clip of the one shows the other."""

LOOSE_PAIRS = (
    (
        "Pretending to close something without actually closing it",
        "Pretending to open something without actually opening it",
    ),
    ("Picking something up", "Putting something on a surface"),
    ("Pretending to pick something up", "Pretending to put something on a surface"),
    (
        "Pretending to put something into something",
        "Pretending to take something out of something",
    ),
    ("Pulling something from behind of something", "Putting something behind something"),
    ("Burying something in something", "Digging something out of something"),
    ("Pulling something out of something", "Stuffing something into something"),
    (
        "Putting something similar to other things that are already on the table",
        "Taking one of many similar things on the table",
    ),
    (
        "Laying something on the table on its side, not upright",
        "Putting something upright on the table",
    ),
)
"""Opposites in words whose reversal is not exact (the object's state or the grasp differs).

Putting upright / tipping over is left out: a class has one partner, and laying on the side is
the nearer one.
"""

MIRROR_PAIRS = (
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    (
        "Turning the camera left while filming something",
        "Turning the camera right while filming something",
    ),
)


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read the official JSON files under either of their two namings.

    Raises:
        MissingData: a checklist of the pieces found and missing.
        UsageError: a file that is not as expected, or a template that is not in labels.json.
    """
    with_loose = INFO.option(options, "pairs", "strict", "strict", "loose") == "loose"
    checklist = Checklist("ssv2", root)
    labels_file = _json(checklist, "labels", "class names")
    list_files = {
        "train": _json(checklist, "train", "training clips"),
        "val": _json(checklist, "validation", "validation clips"),
    }
    folder = checklist.folder(
        "20bn-something-something-v2", "videos", purpose="the videos, <id>.webm"
    )
    checklist.require()
    videos = Videos(folder)
    index = {name: int(number) for name, number in read_json(labels_file, dict).items()}
    names = sorted(index, key=index.__getitem__)
    clips = []
    for split, file in list_files.items():
        clips += [
            _clip(file, videos, split, str(entry["id"]), entry["template"], index)
            for entry in read_json(file, list)
        ]
    notes = []
    answers = _find(root, "test-answers.csv", "labels/test-answers.csv")
    if answers is None:
        notes.append(
            "no test-answers.csv: the test split is left out (its labels are public: put "
            "labels/test-answers.csv below the root to have it)"
        )
    else:
        clips += [
            _clip(answers, videos, "test", row[0].strip(), row[1], index)
            for row in read_rows(answers, 2, ";")
            if row[0].strip().isdigit()
        ]
    pairs = (*STRICT_PAIRS, *LOOSE_PAIRS) if with_loose else STRICT_PAIRS
    classes = class_rows(names, partners=pairs, mirrors=MIRROR_PAIRS)
    return Dataset("ssv2", tuple(clips), classes, (*notes, *videos.notes()))


def _json_places(stem: str) -> tuple[str, ...]:
    long = f"something-something-v2-{stem}.json"
    return (f"labels/{stem}.json", f"{stem}.json", f"labels/{long}", long)


def _json(checklist: Checklist, stem: str, purpose: str) -> Path:
    return checklist.file(*_json_places(stem), purpose=purpose)


def _find(root: Path, *places: str) -> Path | None:
    return next((root / place for place in places if (root / place).is_file()), None)


def _clip(
    file: Path, videos: Videos, split: str, number: str, template: str, index: Mapping[str, int]
) -> Clip:
    label = template.replace("[", "").replace("]", "")
    if label not in index:
        raise UsageError(
            f"{file}: clip {number} has the class {label!r}, which labels.json has not"
        )
    return Clip(number, videos.find(f"{number}.webm"), label, split, group=number)


INFO = DatasetInfo(
    name="ssv2",
    load=load,
    layout="""\
<root>/labels/labels.json          {template: "index"}, 174 classes
<root>/labels/train.json           [{id, label, template, placeholders}], 168,913 clips
<root>/labels/validation.json      24,777 clips
<root>/labels/test-answers.csv     id;template, 27,157 clips (optional: the test split)
<root>/20bn-something-something-v2/<id>.webm
The JSON files may also be in the root itself, and may be named
something-something-v2-{labels,train,validation}.json. The folder may be called videos.""",
    source="https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
    options={
        "pairs": "strict (default: 13 pairs that reverse exactly), or loose: 9 near opposites more"
    },
)
