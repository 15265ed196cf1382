"""`charades`: 9,848 videos of people at home, 157 actions (arXiv 1604.01753), as segments.

Checked (2026-11) against public code that reads the annotations: "c000 <class>" a line, the names
of all 157 classes, and the actions of a video with ; between. Not checked: the archive itself. The
opposite pairs are ours, by the words of the classes; they go by number, because copies of the list
differ in a word here and there.

By default each annotated action segment becomes a clip with one label, as the chirality protocol
uses them. With clips=videos each whole video is a clip with all of its labels, or none, for --task
multi-label: mean average precision over the 157 classes, as Charades is scored.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from stepcli.cache.schema.label_sets import joined_labels
from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import read_lines
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.segment_files import Annotations, ListedSegment, beside, csv_format
from stepcli.extract.datasets.videos import Videos
from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.errors import UsageError

PAIR_NUMBERS = (
    *((8, 6), (27, 25), (41, 39), (48, 46), (90, 89), (113, 112), (143, 142)),  # opening, closing
    *((104, 105), (55, 57), (148, 155)),  # a light on and off; shoes, clothes on and off
    *((154, 151),),  # standing up, sitting down
    # Taking something from somewhere, putting it somewhere.
    *((2, 1), (18, 17), (23, 22), (30, 28), (35, 34), (43, 42), (50, 49), (56, 54), (63, 62)),
    *((69, 68), (73, 71), (79, 77), (100, 99), (110, 109), (117, 116), (120, 119)),
)

COLUMNS = ("id", "subject", "actions")


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read Charades_v1_{train,test}.csv and the class list."""
    whole = INFO.option(options, "clips", "actions", "actions", "videos") == "videos"
    checklist = Checklist("charades", root)

    def find(name: str, purpose: str) -> Path:
        return checklist.file(name, f"Charades/{name}", f"annotations/{name}", purpose=purpose)

    index = find("Charades_v1_classes.txt", "class names")
    lists = {
        split: find(f"Charades_v1_{split}.csv", f"{split} videos") for split in ("train", "test")
    }
    folder = checklist.folder("Charades_v1_480", "Charades_v1", "videos", purpose="<id>.mp4")
    checklist.require()
    videos = Videos(folder)
    names = _names(index)
    clips = []
    for split, table in lists.items():
        for row in read_csv(table, COLUMNS):
            actions = list(_actions(row, table, names))
            if whole:
                path = videos.find(f"{row['id']}.mp4")
                labels = joined_labels(label for label, *_ in actions)
                clips.append(Clip(row["id"], path, labels, split, group=row["subject"]))
                continue
            for number, (label, start, end) in enumerate(actions):
                if start < end:
                    path = videos.find(f"{row['id']}.mp4")
                    name = f"{row['id']}/{number}"
                    clips.append(Clip(name, path, label, split, start, end, group=row["id"]))
    pairs = [tuple(f"c{number:03}" for number in pair) for pair in PAIR_NUMBERS]
    partners = [(names[a], names[b]) for a, b in pairs if a in names and b in names]
    classes = class_rows(list(names.values()), partners=partners)
    return Dataset("charades", tuple(clips), classes, videos.notes(), several=whole)


def _names(index: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in read_lines(index))


def _actions(
    row: Mapping[str, str], table: Path, names: Mapping[str, str]
) -> Iterator[tuple[str, float, float]]:
    """Class, start and end in seconds of each action of a video."""
    for action in filter(None, row["actions"].split(";")):
        try:
            code, start, end = action.split()
            found = names[code], float(start), float(end)
        except (ValueError, KeyError):
            raise UsageError(
                f"{table}: video {row['id']}: expected '<class> <start> <end>', found {action!r}"
            ) from None
        yield found


def read_annotations(table: Path, options: Mapping[str, str]) -> Annotations:
    """Read the actions of one CSV; the class names lie beside it."""
    del options
    names = _names(beside(table, ("Charades_v1_classes.txt",), "class names"))
    segments, without = [], []
    for row in read_csv(table, COLUMNS):
        found = [ListedSegment((row["id"],), *action) for action in _actions(row, table, names)]
        segments += found
        without += [] if found else [(row["id"],)]
    return Annotations(tuple(segments), tuple(without))


INFO = DatasetInfo(
    name="charades",
    load=load,
    layout="""\
<root>/Charades_v1_classes.txt            "c000 <class>" a line, 157 classes
<root>/Charades_v1_{train,test}.csv       id,subject,...,actions: "c092 11.90 21.20;c147 ..."
    (or in <root>/Charades/ or <root>/annotations/)
<root>/Charades_v1_480/<id>.mp4           (or Charades_v1, or videos)
Each annotated action becomes a clip of its own; with clips=videos each video with all labels.""",
    options={
        "clips": "actions (default): each annotated action, with one label; videos: each whole "
        "video, with all of its labels, for --task multi-label"
    },
    source="https://prior.allenai.org/projects/charades",
    annotations=csv_format(COLUMNS, read_annotations),
)
