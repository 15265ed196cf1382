"""`hmdb51`: 6,766 clips of 51 actions from films (Kuehne et al., ICCV 2011), three splits."""

from collections.abc import Mapping
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import read_lines
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.videos import Videos
from stepcli.runtime.errors import UsageError

SPLIT_OF = {"0": "", "1": "train", "2": "test"}


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read `<class>_test_split<n>.txt`; each line is a video and 1 (train), 2 (test) or 0.

    Clips that a split does not use are extracted all the same, with no split: the other two
    splits then cost nothing but a new clips table.
    """
    number = INFO.option(options, "split", "1", "1", "2", "3")
    checklist = Checklist("hmdb51", root)
    lists = checklist.folder(
        "testTrainMulti_7030_splits", "test_train_splits", "splits", purpose="split files"
    )
    files = checklist.files(lists, f"*_test_split{number}.txt", "one per class")
    folder = checklist.folder("videos", "hmdb51_org", "hmdb51", ".", purpose="<class>/<video>.avi")
    checklist.require()
    videos = Videos(folder)
    clips = []
    for file in files:
        name = file.name.removesuffix(f"_test_split{number}.txt")
        for line in read_lines(file):
            video, _, use = line.rpartition(" ")
            if use not in SPLIT_OF:
                raise UsageError(f"{file}: expected a video and 0, 1 or 2, found {line!r}")
            video = video.strip()
            clips.append(
                Clip(
                    id=f"{name}/{video}",
                    path=videos.find(f"{name}/{video}"),
                    label=name,
                    split=SPLIT_OF[use],
                    # <source>_<action>_..._<number>.avi: clips cut from one film belong together.
                    group=video.partition(f"_{name}_")[0],
                )
            )
    classes = class_rows(sorted({clip.label for clip in clips}))
    return Dataset("hmdb51", tuple(clips), classes, videos.notes())


INFO = DatasetInfo(
    name="hmdb51",
    load=load,
    layout="""\
<root>/testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt   "<video>.avi 0|1|2" a line
<root>/videos/<class>/<video>.avi      (the folder may be hmdb51_org, hmdb51, or the root)""",
    source="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database",
    options={"split": "1 (default), 2 or 3"},
)
