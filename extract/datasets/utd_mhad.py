"""`utd_mhad`: UTD-MHAD (Chen, Jafari & Kehtarnavaz, ICIP 2015), 27 actions of 8 people, 861 clips.

From the authors' description: a<action>_s<subject>_t<trial>_{color.avi,depth.mat}, the actions and
their order, four trials each (three of 864 were corrupted and are not published), odd subjects for
training and even ones for testing. Not checked: the authors' archives themselves.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.videos import DEPTH_ENDING, by_stem, ending_notes, is_video
from stepcli.extract.datasets.walking import Walk

SEQUENCES = 861
"""Of the release; 27 x 8 x 4 without the three that are corrupted."""

_NAME = re.compile(r"a(\d{1,2})_s([1-8])_t(\d)_(?:color|depth)")
ACTIONS = {
    "swipe_left": "swiping the right arm to the left",
    "swipe_right": "swiping the right arm to the right",
    "wave": "waving the right hand",
    "clap": "clapping both hands in front",
    "throw": "throwing with the right arm",
    "arm_cross": "crossing the arms on the chest",
    "basketball_shoot": "shooting a basketball",
    "draw_x": "drawing an x with the right hand",
    "draw_circle_cw": "drawing a circle clockwise with the right hand",
    "draw_circle_ccw": "drawing a circle counter-clockwise with the right hand",
    "draw_triangle": "drawing a triangle with the right hand",
    "bowling": "bowling with the right hand",
    "boxing": "boxing to the front",
    "baseball_swing": "swinging a baseball bat from the right",
    "tennis_swing": "a forehand swing in tennis with the right hand",
    "arm_curl": "curling both arms",
    "tennis_serve": "serving in tennis",
    "push": "pushing with both hands",
    "knock": "knocking on a door with the right hand",
    "catch": "catching an object with the right hand",
    "pickup_throw": "picking up an object and throwing it with the right hand",
    "jog": "jogging in place",
    "walk": "walking in place",
    "sit_to_stand": "standing up from a chair",
    "stand_to_sit": "sitting down on a chair",
    "lunge": "lunging forward with the left foot",
    "squat": "squatting with both arms stretched out",
}
"""Class -> its prompt, in the order of the numbers in the file names."""
PAIRS = (
    ("swipe_left", "swipe_right"),
    ("draw_circle_cw", "draw_circle_ccw"),
    ("sit_to_stand", "stand_to_sit"),
)


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read the file names: they hold action, subject and trial.

    Args:
        root: folder with the files at any depth.
        options: "modality", rgb or depth; "classes", all or opposites.

    Raises:
        UsageError: no such file.
    """
    modality = INFO.option(options, "modality", "rgb", "rgb", "depth")
    wanted = INFO.option(options, "classes", "all", "all", "opposites")
    kind, ending = ("color", ".avi") if modality == "rgb" else ("depth", DEPTH_ENDING)
    checklist = Checklist("utd_mhad", root)
    walk = Walk(root)
    files = [path for path in walk.files() if path.stem.lower().endswith(f"_{kind}")]
    readable = [path for path in files if is_video(path.name) or path.suffix.lower() == ending]
    found = by_stem(readable, ending)
    checklist.note(found, root / f"**/*_{kind}{ending}", f"{modality} sequences")
    checklist.require()
    names = list(ACTIONS)
    opposites = {name for pair in PAIRS for name in pair}
    taken = [name for name in names if wanted == "all" or name in opposites]
    clips, foreign, seen = [], 0, 0
    for stem, path in found.items():
        name = _NAME.fullmatch(stem.lower())
        if name is None or not 1 <= int(name[1]) <= len(names):
            foreign += 1
            continue
        action, subject, trial = map(int, name.groups())
        seen += 1
        if names[action - 1] not in taken:
            continue
        clips.append(
            Clip(
                id=f"a{action}_s{subject}_t{trial}",
                path=path,
                label=names[action - 1],
                split="train" if subject % 2 else "test",
                group=f"s{subject}",
            )
        )
    notes = [f"{foreign} files are named like no sequence and are left out"] if foreign else []
    if seen != SEQUENCES:
        notes.append(f"{seen} of the {SEQUENCES} sequences of the release are here")
    notes += [*ending_notes((ending, str(clip.path)) for clip in clips), *walk.notes()]
    classes = class_rows(taken, partners=PAIRS, prompts=ACTIONS)
    return Dataset("utd_mhad", tuple(clips), classes, tuple(notes))


INFO = DatasetInfo(
    name="utd_mhad",
    load=load,
    layout="""\
<root>/**/a<action>_s<subject>_t<trial>_color.avi    RGB
<root>/**/a<action>_s<subject>_t<trial>_depth.mat    depth: variable d_depth, [240, 320, frames]
Train: odd subjects; test: even subjects. Depth in millimetres becomes an 8-bit grey image: 0.8 m is
255, 4 m and beyond 1, without measurement 0, the same for every frame; 30 frames per second.""",
    source="https://personal.utdallas.edu/~kehtar/UTD-MHAD.html",
    options={
        "modality": "rgb (default) or depth (needs the extra depth)",
        "classes": "all (default), or opposites: the six that have an opposite",
    },
)
