"""`csv`: the way in for everyone's own videos, one line a clip."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from stepcli.cache.errors import UsageError
from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo

REQUIRED = ("path", "label")
BOUNDS = ("start_seconds", "end_seconds", "start_frame", "end_frame")
OPTIONAL = ("id", "split", *BOUNDS, "group", "view", "frames_per_second")


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read a CSV, or the only CSV of a folder.

    Raises:
        UsageError: no such file, several CSVs, a missing column (names those found), or a value
            that cannot be read (names the line).
    """
    del options
    table = find_table(root)
    clips, notes = read_clips(table)
    names = sorted({clip.label for clip in clips})
    return Dataset("csv", clips, class_rows(names), notes)


def find_table(root: Path) -> Path:
    """The CSV that a root means: the file itself, or the one CSV in the folder."""
    if root.is_file():
        return root
    if not root.is_dir():
        raise UsageError(f"csv: expected a CSV file or a folder holding one, but {root} is neither")
    tables = sorted(root.glob("*.csv"))
    if len(tables) != 1:
        names = f" ({', '.join(table.name for table in tables)})" if tables else ""
        raise UsageError(
            f"csv: expected exactly one CSV in {root}, found {len(tables)}{names}; "
            "give the file itself as --root"
        )
    return tables[0]


def read_clips(table: Path) -> tuple[tuple[Clip, ...], tuple[str, ...]]:
    """The clips of a CSV, and notes; relative paths count from the CSV's own folder."""
    with table.open(newline="", encoding="utf-8-sig") as lines:
        try:
            reader = csv.DictReader(lines)
            columns = list(reader.fieldnames or ())
            missing = [name for name in REQUIRED if name not in columns]
            if missing:
                raise UsageError(
                    f"{table}: the column {' and '.join(map(repr, missing))} is missing; "
                    f"found {', '.join(map(repr, columns)) or 'no header line at all'}"
                )
            clips = tuple(
                _clip(table, reader.line_num, {key: value or "" for key, value in line.items()})
                for line in reader
            )
        except UnicodeDecodeError as error:
            raise UsageError(f"{table}: expected UTF-8 text, but {error}") from error
        except csv.Error as error:
            raise UsageError(f"{table}, line {reader.line_num}: {error}") from error
    ignored = [name for name in columns if name not in (*REQUIRED, *OPTIONAL)]
    notes = (f"columns of {table.name} that mean nothing here: {', '.join(ignored)}",)
    return clips, notes if ignored else ()


def _clip(table: Path, line: int, row: Mapping[str, str]) -> Clip:
    place = f"{table}, line {line}"
    for name in REQUIRED:
        if not row[name].strip():
            raise UsageError(f"{place}: the column {name!r} is empty")
    numbers = dict(_numbers(place, row))
    if {"start_seconds", "end_seconds"} & numbers.keys() and (
        {"start_frame", "end_frame"} & numbers.keys()
    ):
        raise UsageError(f"{place}: give a segment in seconds or in frames, not in both")
    for unit in ("seconds", "frame"):
        start, end = numbers.get(f"start_{unit}", 0), numbers.get(f"end_{unit}")
        if end is not None and end <= start:
            raise UsageError(f"{place}: the segment ends at {end} and starts at {start}")
    rate = numbers.pop("frames_per_second", None)
    if rate == 0:
        raise UsageError(f"{place}: frames_per_second is 0, expected more")
    bounds = "-".join(str(value) for value in numbers.values())
    return Clip(
        id=row.get("id") or (f"{row['path']}@{bounds}" if numbers else row["path"]),
        path=table.parent / row["path"],
        label=row["label"].strip(),
        split=row.get("split", ""),
        start_seconds=numbers.get("start_seconds"),
        end_seconds=numbers.get("end_seconds"),
        start_frame=_whole(numbers.get("start_frame")),
        end_frame=_whole(numbers.get("end_frame")),
        group=row.get("group", ""),
        view=row.get("view", ""),
        frames_per_second=rate,
    )


def _numbers(place: str, row: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name in (*BOUNDS, "frames_per_second"):
        text = row.get(name, "").strip()
        if not text:
            continue
        try:
            value = int(text) if name.endswith("frame") else float(text)
        except ValueError:
            value = -1
        if not 0 <= value < float("inf"):
            raise UsageError(f"{place}: {name} is {text!r}, expected a number of at least 0")
        yield name, value


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


INFO = DatasetInfo(
    name="csv",
    load=load,
    layout="""\
--root is a CSV file, or a folder that holds exactly one. Columns, in any order:
  path           video file, relative to the CSV's folder or absolute      (required)
  label          class name                                               (required)
  id             unique; by default the path (and the segment)
  split          train, val or test
  start_seconds, end_seconds   a segment, start <= time < end, since the video's first frame
  start_frame, end_frame       or by frame number, from 0, the end not included
  group          what a split must not tear apart: source video, subject, episode
  view           camera
  frames_per_second   where path is a folder of numbered images instead of a video""",
    source="your own videos",
)
