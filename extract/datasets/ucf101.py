"""`ucf101`: 13,320 clips of 101 actions (Soomro et al., arXiv 1212.0402), three splits."""

import re
from collections.abc import Mapping
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import read_lines
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.videos import Videos
from stepcli.runtime.errors import UsageError

_NAME = re.compile(r"(?P<label>[^/]+)/(?P<stem>v_.+_g\d+)_c\d+\.avi")


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read classInd.txt, trainlist0<n>.txt and testlist0<n>.txt."""
    number = INFO.option(options, "split", "1", "1", "2", "3")
    checklist = Checklist("ucf101", root)
    place = "ucfTrainTestlist"
    index = checklist.file(f"{place}/classInd.txt", "classInd.txt", purpose="classes")
    lists = {
        split: checklist.file(
            f"{place}/{split}list0{number}.txt",
            f"{split}list0{number}.txt",
            purpose=f"{split} clips",
        )
        for split in ("train", "test")
    }
    folder = checklist.folder("UCF-101", "videos", purpose="<class>/<video>.avi")
    checklist.require()
    videos = Videos(folder)
    names = [line.partition(" ")[2] for line in read_lines(index)]
    clips = []
    for split, file in lists.items():
        for line in read_lines(file):
            video = line.split(" ")[0]
            found = _NAME.fullmatch(video)
            if found is None or found["label"] not in names:
                raise UsageError(
                    f"{file}: expected <class>/v_<class>_g<n>_c<n>.avi, found {line!r}"
                )
            path = videos.find(video)
            clips.append(Clip(video, path, found["label"], split, group=found["stem"]))
    return Dataset("ucf101", tuple(clips), class_rows(names), videos.notes())


INFO = DatasetInfo(
    name="ucf101",
    load=load,
    layout="""\
<root>/ucfTrainTestlist/classInd.txt                    "<number> <class>" a line
<root>/ucfTrainTestlist/{train,test}list0{1,2,3}.txt    "<class>/<video>.avi[ <number>]" a line
<root>/UCF-101/<class>/v_<class>_g<group>_c<clip>.avi   (the folder may be videos)""",
    source="https://www.crcv.ucf.edu/data/UCF101.php",
    options={"split": "1 (default), 2 or 3"},
)
