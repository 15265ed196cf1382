"""`driveact`: Drive&Act (Martin et al., ICCV 2019), 34 activities of drivers, long recordings.

Fine-grained activities in chunks of at most three seconds; segments go by frame number.

Checked (2026-11) against public code that trains on it: the CSVs' places and columns, the videos
below the root or data/, a chunk's last frame not being included, and the names of all 34 classes.
Not checked: the authors' archive itself.
"""

from collections.abc import Mapping
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import whole_number
from stepcli.extract.datasets.official import OfficialSplits, splits_here
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.segment_files import Annotations, ListedSegment, csv_format
from stepcli.extract.datasets.videos import Videos
from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.errors import UsageError

PAIRS = (
    ("opening_bottle", "closing_bottle"),
    ("opening_door_inside", "closing_door_inside"),
    ("opening_door_outside", "closing_door_outside"),
    ("opening_laptop", "closing_laptop"),
    ("fastening_seat_belt", "unfastening_seat_belt"),
    ("entering_car", "exiting_car"),
    ("putting_on_jacket", "taking_off_jacket"),
    ("putting_on_sunglasses", "taking_off_sunglasses"),
    ("putting_laptop_into_backpack", "taking_laptop_from_backpack"),
    ("fetching_an_object", "placing_an_object"),
)
VIEWS = (
    *("kinect_color", "kinect_ir", "kinect_depth", "inner_mirror", "steering_wheel"),
    *("ceiling", "a_column_driver", "a_column_co_driver"),
)
SPLITS = ("0", "1", "2")
COLUMNS = (
    *("participant_id", "file_id", "annotation_id", "frame_start", "frame_end"),
    *("activity", "chunk_id"),
)


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read the three CSVs of one view for each split."""
    view = INFO.option(options, "view", "kinect_color", *VIEWS)
    asked = INFO.option(options, "split", "all", "all", *SPLITS)
    folders = ("activities_3s", "iccv_activities_3s")
    numbers, notes = splits_here(
        asked,
        SPLITS,
        lambda n: any(any((root / f / view).glob(f"*split_{n}.train.csv")) for f in folders),
    )
    checklist = Checklist("driveact", root)
    tables = {}
    for number in numbers:
        for split in ("train", "val", "test"):
            name = f"{view}/midlevel.chunks_90.split_{number}.{split}.csv"
            tables[number, split] = checklist.file(
                *(f"{folder}/{name}" for folder in folders),
                purpose=f"{split} chunks of split {number}",
            )
    folder = checklist.folder(view, f"data/{view}", purpose="<participant>/<run>.mp4")
    checklist.require()
    videos = Videos(folder)
    splits = OfficialSplits(numbers)
    clips: dict[str, Clip] = {}
    part_of: dict[str, str] = {}
    for (number, split), table in tables.items():
        for row in read_csv(table, COLUMNS):
            chunk = _chunk(row, table)
            clip = Clip(
                id=f"{chunk.part_of}/{row['chunk_id']}",
                path=videos.find(f"{row['file_id']}.mp4"),
                label=chunk.label,
                start_frame=chunk.start_frame,
                end_frame=chunk.end_frame,
                group=f"vp{row['participant_id']}",
                view=view,
            )
            part_of[clip.id] = chunk.part_of
            splits.add(number, clip.id, split, table)
            if clips.setdefault(clip.id, clip) != clip:
                raise UsageError(f"{table}: the chunk {clip.id} differs from that of another split")
    names = sorted({clip.label for clip in clips.values()})
    classes = class_rows(names, partners=PAIRS)
    notes = (*notes, *videos.notes())
    return Dataset("driveact", splits.of(clips.values()), classes, notes, part_of=part_of)


def _chunk(row: Mapping[str, str], table: Path) -> ListedSegment:
    start, end = (whole_number(row[name], table, name) for name in ("frame_start", "frame_end"))
    return ListedSegment(
        (row["file_id"],),
        row["activity"],
        start_frame=start,
        end_frame=max(end, start + 1),
        part_of=f"{row['file_id']}/{row['annotation_id']}",
    )


def read_annotations(table: Path, options: Mapping[str, str]) -> Annotations:
    """Read the chunks of one CSV."""
    del options
    return Annotations(tuple(_chunk(row, table) for row in read_csv(table, COLUMNS)))


INFO = DatasetInfo(
    name="driveact",
    load=load,
    layout="""\
<root>/activities_3s/<view>/midlevel.chunks_90.split_{0,1,2}.{train,val,test}.csv
    participant_id,file_id,annotation_id,frame_start,frame_end,activity,chunk_id
    (older releases call the folder iccv_activities_3s); frame_end is not included
<root>/<view>/<file_id>.mp4     e.g. kinect_color/vp1/run1b_2018-05-29-14-02-47.kinect_color.mp4
    (or below <root>/data/)
Report mean class accuracy, averaged over the three splits.""",
    source="https://driveandact.com",
    options={
        "view": f"kinect_color (default), {', '.join(VIEWS[1:])}",
        "split": "all (default), or one of 0, 1, 2",
    },
    annotations=csv_format(("file_id", "frame_start", "frame_end", "activity"), read_annotations),
)
