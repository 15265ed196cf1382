"""`ucf101`: 13,320 clips of 101 actions (Soomro et al., arXiv 1212.0402), three splits."""

import re
from collections.abc import Mapping
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import read_lines
from stepcli.extract.datasets.official import OfficialSplits, splits_here
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.videos import Videos
from stepcli.runtime.csv_tables import WrongLines

SPLITS = ("1", "2", "3")
_NAME = re.compile(r"(?P<label>[^/]+)/(?P<stem>v_.+_g\d+)_c\d+\.avi")


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read classInd.txt, and trainlist0<n>.txt and testlist0<n>.txt of each split."""
    asked = INFO.option(options, "split", "all", "all", *SPLITS)
    checklist = Checklist("ucf101", root)
    place = "ucfTrainTestlist"
    index = checklist.file(f"{place}/classInd.txt", "classInd.txt", purpose="classes")
    numbers, notes = splits_here(
        asked,
        SPLITS,
        lambda n: any((root / p / f"trainlist0{n}.txt").exists() for p in (place, ".")),
    )
    lists = {
        (number, split): checklist.file(
            f"{place}/{split}list0{number}.txt",
            f"{split}list0{number}.txt",
            purpose=f"{split} clips of split {number}",
        )
        for number in numbers
        for split in ("train", "test")
    }
    folder = checklist.folder("UCF-101", "videos", purpose="<class>/<video>.avi")
    checklist.require()
    videos = Videos(folder)
    names = [line.partition(" ")[2] for line in read_lines(index)]
    splits = OfficialSplits(numbers)
    clips: dict[str, Clip] = {}
    for (number, split), file in lists.items():
        wrong = WrongLines(file)
        for place_of_line, line in enumerate(read_lines(file), 1):
            video = line.split(" ")[0]
            found = _NAME.fullmatch(video)
            if found is None or found["label"] not in names:
                said = f"expected <class>/v_<class>_g<n>_c<n>.avi, found {line!r}"
                wrong.add(place_of_line, said)
                continue
            splits.add(number, video, split, file)
            if video not in clips:
                path = videos.find(video)
                clips[video] = Clip(video, path, found["label"], group=found["stem"])
        wrong.refuse()
    return Dataset(
        "ucf101", splits.of(clips.values()), class_rows(names), (*notes, *videos.notes())
    )


INFO = DatasetInfo(
    name="ucf101",
    load=load,
    layout="""\
<root>/ucfTrainTestlist/classInd.txt                    "<number> <class>" a line
<root>/ucfTrainTestlist/{train,test}list0{1,2,3}.txt    "<class>/<video>.avi[ <number>]" a line
<root>/UCF-101/<class>/v_<class>_g<group>_c<clip>.avi   (the folder may be videos)""",
    source="https://www.crcv.ucf.edu/data/UCF101.php",
    options={"split": "all (default), or one of 1, 2, 3"},
)
