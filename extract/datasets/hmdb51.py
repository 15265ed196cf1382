"""`hmdb51`: 6,766 clips of 51 actions from films (Kuehne et al., ICCV 2011), three splits."""

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
SPLIT_OF = {"0": "", "1": "train", "2": "test"}


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read `<class>_test_split<n>.txt`; each line is a video and 1 (train), 2 (test) or 0.

    Clips that no split uses are extracted all the same, with no split.
    """
    asked = INFO.option(options, "split", "all", "all", *SPLITS)
    checklist = Checklist("hmdb51", root)
    lists = checklist.folder(
        "testTrainMulti_7030_splits", "test_train_splits", "splits", purpose="split files"
    )
    numbers, notes = splits_here(asked, SPLITS, lambda n: any(lists.glob(f"*_test_split{n}.txt")))
    files = {
        number: checklist.files(lists, f"*_test_split{number}.txt", "one per class")
        for number in numbers
    }
    folder = checklist.folder("videos", "hmdb51_org", "hmdb51", ".", purpose="<class>/<video>.avi")
    checklist.require()
    videos = Videos(folder)
    splits = OfficialSplits(numbers)
    clips: dict[str, Clip] = {}
    for number, file in ((each, file) for each in numbers for file in files[each]):
        name = file.name.removesuffix(f"_test_split{number}.txt")
        wrong = WrongLines(file)
        for place, line in enumerate(read_lines(file), 1):
            video, _, use = line.rpartition(" ")
            if use not in SPLIT_OF:
                wrong.add(place, f"expected a video and 0, 1 or 2, found {line!r}")
                continue
            video = video.strip()
            clip = f"{name}/{video}"
            splits.add(number, clip, SPLIT_OF[use], file)
            if clip not in clips:
                # <source>_<action>_..._<number>.avi: clips cut from one film belong together.
                group = video.partition(f"_{name}_")[0]
                clips[clip] = Clip(clip, videos.find(clip), name, group=group)
        wrong.refuse()
    classes = class_rows(sorted({clip.label for clip in clips.values()}))
    return Dataset("hmdb51", splits.of(clips.values()), classes, (*notes, *videos.notes()))


INFO = DatasetInfo(
    name="hmdb51",
    load=load,
    layout="""\
<root>/testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt   "<video>.avi 0|1|2" a line
<root>/videos/<class>/<video>.avi      (the folder may be hmdb51_org, hmdb51, or the root)""",
    source="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database",
    options={"split": "all (default), or one of 1, 2, 3"},
)
