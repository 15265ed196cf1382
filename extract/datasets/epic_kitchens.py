"""`epic-kitchens`: EPIC-KITCHENS-100 (arXiv 2006.13256), verbs of segments in long videos.

Checked (2026-11) against the authors' public annotations: the names and columns of the CSVs, the
form of the times, the 97 verb classes. The pairs of opposite verbs are ours, by what the classes
gather: "increase" holds turning up, "insert" putting in, "remove" taking out. Left out, because the
classes do not part that way: attach (its opposite is within "divide"), fold (within "unroll"). The
chiral groups of "Chirality in Action" are not in its authors' public code; they load from a file.
"""

from collections.abc import Mapping
from pathlib import Path

from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.files import note_missing
from stepcli.extract.datasets.required_files import Checklist
from stepcli.extract.datasets.segment_files import Annotations, ListedSegment, beside, csv_format
from stepcli.extract.datasets.videos import by_stem, ending_notes, videos_below
from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.errors import UsageError

PAIRS = (
    *(("open", "close"), ("turn-on", "turn-off"), ("take", "put"), ("insert", "remove")),
    *(("lift", "lower"), ("lock", "unlock"), ("wrap", "unwrap"), ("screw", "unscrew")),
    *(("increase", "turn-down"), ("fill", "empty")),
)

COLUMNS = ("narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp")


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read the annotations; a label is a verb (or a noun), a segment goes by its times."""
    target = INFO.option(options, "target", "verb", "verb", "noun")
    checklist = Checklist("epic-kitchens", root)

    def find(stem: str, purpose: str) -> Path:
        name = f"{stem}.csv"
        places = (name, f"annotations/{name}", f"epic-kitchens-100-annotations/{name}")
        return checklist.file(*places, purpose=purpose)

    classes = find(f"EPIC_100_{target}_classes", "class names")
    lists = {
        "train": find("EPIC_100_train", "training segments"),
        "val": find("EPIC_100_validation", "validation segments"),
    }
    checklist.require()
    names = _names(classes)
    videos, met = videos_below(root)
    on_disk = by_stem(videos, ".mp4")
    clips, listed = [], 0
    for split, table in lists.items():
        for row in read_csv(table, (*COLUMNS, f"{target}_class")):
            listed += 1
            segment = _segment(row, table, target, names)
            if row["video_id"] in on_disk:
                clips.append(
                    Clip(
                        id=row["narration_id"],
                        path=on_disk[row["video_id"]],
                        label=segment.label,
                        split=split,
                        start_seconds=segment.start_seconds,
                        end_seconds=segment.end_seconds,
                        group=row["video_id"],
                    )
                )
    rows = class_rows(list(names.values()), partners=PAIRS)
    notes = (
        *note_missing(listed, len(clips), "segments"),
        *ending_notes((".MP4", str(clip.path)) for clip in clips),
        *met,
    )
    return Dataset("epic-kitchens", tuple(clips), rows, notes)


def _names(classes: Path) -> dict[str, str]:
    return {row["id"]: row["key"] for row in read_csv(classes, ("id", "key"))}


def _segment(
    row: Mapping[str, str], table: Path, target: str, names: Mapping[str, str]
) -> ListedSegment:
    number = row[f"{target}_class"]
    if number not in names:
        raise UsageError(f"{table}: {row['narration_id']} has the unknown class {number}")
    return ListedSegment(
        (row["video_id"],),
        names[number],
        seconds_of(row["start_timestamp"], table),
        seconds_of(row["stop_timestamp"], table),
    )


def read_annotations(table: Path, options: Mapping[str, str]) -> Annotations:
    """Read the segments of one CSV; the class names lie beside it."""
    target = INFO.option(options, "target", "verb", "verb", "noun")
    names = _names(beside(table, (f"EPIC_100_{target}_classes.csv",), "class names"))
    rows = read_csv(table, (*COLUMNS, f"{target}_class"))
    return Annotations(tuple(_segment(row, table, target, names) for row in rows))


def seconds_of(text: str, table: Path) -> float:
    """ "00:01:02.50" -> 62.5."""
    parts = text.split(":")
    try:
        hours, minutes, seconds = map(float, parts)
    except ValueError:
        raise UsageError(f"{table}: expected a time HH:MM:SS.ss, found {text!r}") from None
    return 3600 * hours + 60 * minutes + seconds


INFO = DatasetInfo(
    name="epic-kitchens",
    load=load,
    layout="""\
<root>/EPIC_100_{train,validation}.csv        narration_id, participant_id, video_id,
                                              start_timestamp, stop_timestamp, verb_class, ...
<root>/EPIC_100_{verb,noun}_classes.csv       id,key,...
    (or in <root>/annotations/ or <root>/epic-kitchens-100-annotations/)
<root>/**/<video_id>.MP4                      segments of missing videos are left out and counted
The test split's labels are not public.""",
    source="https://epic-kitchens.github.io",
    options={"target": "verb (default) or noun"},
    annotations=csv_format((*COLUMNS, "verb_class", "noun_class"), read_annotations),
)
