"""`ntu60`, `ntu120`: NTU RGB+D (arXiv 1604.02808; 120 classes: arXiv 1905.04757), RGB videos.

Checked (2026-11) against public lists: the names of all 120 classes and their numbers, the training
subjects. The pairs of the first 60 classes are the literature's; of the classes 61 to 120 nobody
lists any that we know of, and the three here (headphone, bag, into and out of a bag) are ours.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.ntu_classes import NAMES
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.videos import by_stem, ending_notes, videos_below
from stepcli.runtime.words import counted

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})_rgb")

TRAIN_SUBJECTS_60 = frozenset(
    {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}
)
TRAIN_SUBJECTS_120 = TRAIN_SUBJECTS_60 | frozenset(
    {45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86}
    | {89, 91, 92, 93, 94, 95, 97, 98, 100, 103}
)
PAIR_NUMBERS_60 = ((5, 6), (8, 9), (14, 15), (16, 17), (18, 19), (20, 21), (59, 60))
PAIR_NUMBERS_120 = (*PAIR_NUMBERS_60, (61, 62), (87, 88), (89, 90))


def load(classes: int, root: Path, options: Mapping[str, str]) -> Dataset:
    """Read the file names: they hold setup, camera, subject, repetition and action.

    Args:
        classes: 60 or 120.
        root: folder with the .avi files at any depth.
        options: "protocol", which divides them.
    """
    info = INFOS[classes]
    other = "xview" if classes == 60 else "xset"
    protocol = info.option(options, "protocol", "xsub", "xsub", other)
    checklist = Checklist(info.name, root)
    videos, met = videos_below(root)
    found = by_stem((path for path in videos if path.stem.endswith("_rgb")), ".avi")
    checklist.note(found, root / "**/*_rgb.avi", "RGB videos")
    checklist.require()
    train_subjects = TRAIN_SUBJECTS_60 if classes == 60 else TRAIN_SUBJECTS_120
    clips, foreign = [], 0
    for stem, path in found.items():
        name = _NAME.fullmatch(stem)
        if name is None or int(name[5]) > classes:
            foreign += 1
            continue
        setup, camera, subject, _, action = map(int, name.groups())
        in_train = {
            "xsub": subject in train_subjects,
            "xview": camera in (2, 3),
            "xset": setup % 2 == 0,
        }[protocol]
        clips.append(
            Clip(
                id=stem.removesuffix("_rgb"),
                path=path,
                label=NAMES[action - 1],
                split="train" if in_train else "test",
                group=f"P{subject:03}",
                view=f"C{camera:03}",
            )
        )
    numbers = PAIR_NUMBERS_60 if classes == 60 else PAIR_NUMBERS_120
    partners = [(NAMES[first - 1], NAMES[second - 1]) for first, second in numbers]
    notes = [f"left out: {counted(foreign, 'video')} of other classes or names"] if foreign else []
    notes += [*ending_notes((".avi", str(clip.path)) for clip in clips), *met]
    return Dataset(
        info.name,
        tuple(clips),
        class_rows(NAMES[:classes], partners=partners),
        tuple(notes),
    )


def _info(classes: int, other: str) -> DatasetInfo:
    return DatasetInfo(
        name=f"ntu{classes}",
        load=partial(load, classes),
        layout="<root>/**/S<setup>C<camera>P<subject>R<repetition>A<action>_rgb.avi",
        source="https://rose1.ntu.edu.sg/dataset/actionRecognition",
        options={"protocol": f"xsub (cross-subject, default) or {other}"},
    )


INFOS = {60: _info(60, "xview (cross-view)"), 120: _info(120, "xset (cross-setup)")}
