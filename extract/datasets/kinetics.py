"""`kinetics400`, `kinetics600`, `kinetics700`: ten-second clips of YouTube (arXiv 1705.06950).

Videos vanish from YouTube, so no two copies are alike: what is listed and not on the disk is left
out, and its number is reported.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import note_missing, whole_number
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.videos import by_stem, videos_below
from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.words import counted

SPLITS = {"train": ("train",), "val": ("val", "validate", "validation"), "test": ("test",)}


def load(name: str, root: Path, options: Mapping[str, str]) -> Dataset:
    """Read one CSV per split, and take the listed videos that are there.

    A video is found by its name alone, wherever it lies below the root: folder a class, folder a
    split, both, or flat. Names are <id>_<start>_<end> with six digits each, or the bare id.
    """
    del options
    checklist = Checklist(name, root)
    tables = {
        split: checklist.file(
            *(
                place.format(word=word, name=name)
                for word in SPLITS[split]
                for place in ("annotations/{word}.csv", "{word}.csv", "{name}_{word}.csv")
            ),
            purpose=f"{split} clips",
        )
        for split in ("train", "val")
    }
    checklist.require()
    for place in (root / "annotations" / "test.csv", root / "test.csv"):
        if place.is_file():
            tables["test"] = place
    videos, met = videos_below(root)
    on_disk = by_stem(videos, ".mp4")
    clips, listed, names = [], 0, set()
    for split, table in tables.items():
        for row in read_csv(table, ("youtube_id", "time_start", "time_end")):
            label = row.get("label", "")
            if not label:  # Kinetics-400's own test list has none
                continue
            listed += 1
            names.add(label)
            start, end = (
                whole_number(row[column].split(".")[0], table, column)
                for column in ("time_start", "time_end")
            )
            key = f"{row['youtube_id']}_{start:06d}_{end:06d}"
            path = on_disk.get(key) or on_disk.get(row["youtube_id"])
            if path is not None:
                clips.append(Clip(key, path, label, split, group=row["youtube_id"]))
    return Dataset(
        name,
        tuple(clips),
        class_rows(sorted(names)),
        (*note_missing(listed, len(clips), "videos"), *_shared(clips), *met),
    )


def _shared(clips: Sequence[Clip]) -> Iterator[str]:
    """A note on rows that have only one file, of the bare id, between them.

    Whether such a file is the whole video or was cut already, nothing tells: it is taken whole.
    """
    rows = Counter(clip.path for clip in clips)
    shared = [path for path, count in rows.items() if count > 1]
    if shared:
        yield (
            f"{counted(sum(rows[path] for path in shared), 'row')} share "
            f"{counted(len(shared), 'file')} of the bare id (e.g. {shared[0].name}): each row "
            "takes the whole file, not its own seconds; cut them to <youtube_id>_<start>_<end>"
        )


INFOS = {
    name: DatasetInfo(
        name=name,
        load=partial(load, name),
        layout="""\
<root>/annotations/{train,val,test}.csv   label,youtube_id,time_start,time_end,split
    (or directly in the root, or named <name>_<split>.csv; validate.csv is val too; test.csv is
    optional)
<root>/**/<youtube_id>_<start>_<end>.mp4   six digits each, in any folders: a class, a split, flat
    (or <youtube_id>.mp4); listed videos that are missing are left out and counted""",
        source="https://github.com/cvdfoundation/kinetics-dataset",
    )
    for name in ("kinetics400", "kinetics600", "kinetics700")
}
