"""`csv`: users' own videos, one line per clip."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

from stepcli.cache.schema.alike import composed
from stepcli.cache.schema.label_sets import joined_labels, labels_in
from stepcli.cache.schema.split_names import normalise_split, split_notes
from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.columns import meant_columns
from stepcli.extract.datasets.walking import is_hidden
from stepcli.runtime.csv_tables import MissingColumns, TextTable, WrongLines, read_table
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted

REQUIRED = ("path", "label")
LABELS = "labels"
"""In place of `label`: any number of labels per clip, separated by ";"."""
BOUNDS = ("start_seconds", "end_seconds", "start_frame", "end_frame")
NUMBERS = (*BOUNDS, "frames_per_second")
OPTIONAL = ("id", "split", *BOUNDS, "group", "view", "frames_per_second")

_NUMBER = re.compile(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"[0-9]+,[0-9]+")


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read a CSV, or the only CSV of a folder.

    Raises:
        UsageError: no such file, several CSVs, a missing column (names those found), or a value
            that cannot be read (names the line).
    """
    del options
    table = find_table(root)
    clips, notes = read_clips(table)
    several = LABELS in _read(table).columns
    names = {n for c in clips for n in (labels_in(c.label) if several else [c.label])}
    return Dataset("csv", clips, class_rows(sorted(names)), notes, several=several)


def find_table(root: Path) -> Path:
    """The CSV that a root means: the file itself, or the one CSV in the folder."""
    if root.is_file():
        return root
    if not root.is_dir():
        raise UsageError(f"csv: expected a CSV file or a folder holding one, but {root} is neither")
    tables = sorted(table for table in root.glob("*.csv") if not is_hidden(table.name))
    if len(tables) != 1:
        names = f" ({', '.join(table.name for table in tables)})" if tables else ""
        raise UsageError(
            f"csv: expected exactly one CSV in {root}, found {len(tables)}{names}; "
            "give the file itself as --root"
        )
    return tables[0]


def read_clips(table: Path) -> tuple[tuple[Clip, ...], tuple[str, ...]]:
    """The clips of a CSV, and notes; relative paths count from the CSV's own folder.

    Raises:
        UsageError: as of `load`; all wrong lines are named, up to twenty.
    """
    found = _read(table)
    known = (*REQUIRED, LABELS, *OPTIONAL)
    if LABELS in found.columns and "label" in found.columns:
        raise UsageError(
            f"{table}: the columns 'label' and 'labels' are two ways to label clips: keep 'label' "
            "for one label per clip, 'labels' for any number"
        )
    unknown = [name for name in found.columns if name and name not in known]
    if meant := meant_columns(unknown, found.columns):
        texts = [f"{name!r} looks like {other!r}" for name, other in meant.items()]
        raise UsageError(
            f"{table}: unknown columns: {', '.join(texts)}; rename {_them(len(meant))}, to "
            f"something else if that is not meant (known: {', '.join(known)})"
        )
    wrong = WrongLines(table)
    clips: list[Clip] = []
    splits: list[str] = []
    line_of: dict[str, int] = {}
    numeric = any(name in found.columns for name in NUMBERS)
    for number, cells in found.lines:
        if any(cells[len(found.columns) :]):
            wrong.add(
                number,
                f"expected the {len(found.columns)} cells of the header, found {len(cells)}; put "
                f"quotes around a text with a {found.separator!r} in it",
            )
            continue
        cells += [""] * (len(found.columns) - len(cells))
        row = dict(zip(found.columns, cells, strict=False))
        if clip := _clip(table, number, row, found, wrong, numeric=numeric):
            if (first := line_of.setdefault(clip.id, number)) != number:
                wrong.add(
                    number,
                    f"the clip id {clip.id!r} appears twice, in line {first} too; give each clip "
                    "an id of its own",
                )
            clips.append(clip)
            splits.append(row.get("split", ""))
    wrong.refuse()
    notes = split_notes(_as_written(found, splits))
    ignored = [name for name in unknown if name]
    if ignored:
        notes.append(f"columns of {table.name} that mean nothing here: {', '.join(ignored)}")
    if "split" in found.columns and (blank := splits.count("")) not in (0, len(splits)):
        notes.append(f"{counted(blank, 'clip')} of {len(splits)} in {table.name} without a split")
    return tuple(clips), tuple(notes)


def _read(table: Path) -> TextTable:
    try:
        return read_table(table, REQUIRED)
    except MissingColumns as error:
        if LABELS in error.found and "path" in error.found:
            return read_table(table, ("path", LABELS))
        meant = meant_columns(error.found, ())
        names = [name for name in REQUIRED if name not in error.found]
        hints = [f"{one!r} looks like {other!r}" for one, other in meant.items() if other in names]
        missing = " and ".join(map(repr, names))
        found = ", ".join(map(repr, error.found)) or "no header line at all"
        found += f" ({', '.join(hints)})" if hints else ""
        raise UsageError(
            f"{table}: the column {missing} is missing; found {found}"
            if len(names) == 1
            else f"{table}: the columns {missing} are missing; found {found}"
        ) from None


def _as_written(found: TextTable, splits: Sequence[str]) -> list[str]:
    """The cells of the split column before they were stripped."""
    if "split" not in found.columns:
        return list(splits)
    place = found.columns.index("split")
    return [
        found.raw.get(number, cells)[place] if place < len(cells) else ""
        for number, cells in found.lines
    ]


def _clip(
    table: Path,
    number: int,
    row: Mapping[str, str],
    found: TextTable,
    wrong: WrongLines,
    *,
    numeric: bool,
) -> Clip | None:
    """The clip of a line; None where it is wrong, which is noted."""
    before = len(wrong.found)
    for name in REQUIRED:
        if not row.get(name, "labels" in row):
            wrong.add(number, f"the column {name!r} is empty")
    if "\0" in row["path"]:
        wrong.add(number, f"the path is {row['path']!r}, which holds a NUL character")
    numbers = _numbers(number, row, wrong) if numeric else {}
    rate = numbers.pop("frames_per_second", None)
    if rate == 0:
        wrong.add(number, "frames_per_second is 0, expected more")
    if len({name.partition("_")[2] for name in numbers}) > 1:
        wrong.add(number, "give a segment in seconds or in frames, not in both")
    for unit in ("seconds", "frame") if numbers else ():
        start, end = numbers.get(f"start_{unit}", 0), numbers.get(f"end_{unit}")
        if end is not None and end <= start:
            wrong.add(number, f"the segment ends at {end} and starts at {start}")
    if len(wrong.found) > before:
        return None
    path = _path(table, number, row["path"], found)
    bounds = "-".join(str(value) for value in numbers.values())
    return Clip(
        id=row.get("id") or (f"{path}@{bounds}" if numbers else path),
        path=table.parent / path,
        label=composed(row["label"]) if "label" in row else _several(row[LABELS]),
        split=normalise_split(row.get("split", "")),
        start_seconds=numbers.get("start_seconds"),
        end_seconds=numbers.get("end_seconds"),
        start_frame=_whole(numbers.get("start_frame")),
        end_frame=_whole(numbers.get("end_frame")),
        group=composed(row.get("group", "")),
        view=row.get("view", ""),
        frames_per_second=rate,
    )


def _several(cell: str) -> str:
    """The labels of a clip in the one form of the store's table."""
    return joined_labels(composed(name) for name in labels_in(cell))


def _numbers(number: int, row: Mapping[str, str], wrong: WrongLines) -> dict[str, float]:
    """Segment and rate of a line; what is no number is noted."""
    found: dict[str, float] = {}
    for name in NUMBERS:
        if text := row.get(name, ""):
            try:
                found[name] = _number(text, whole=name.endswith("frame"))
            except ValueError as error:
                wrong.add(number, f"{name} is {text!r}, expected {error}")
    return found


def _path(table: Path, number: int, path: str, found: TextTable) -> str:
    """The path of a line; with blanks at its ends, or in another Unicode form, where a file is
    really called so."""
    spellings = [] if path.isascii() else [normalize(form, path) for form in ("NFC", "NFD")]
    if number in found.raw:
        spellings.append(found.raw[number][found.columns.index("path")])
    if all(spelling == path for spelling in spellings) or (table.parent / path).exists():
        return path
    return next((other for other in spellings if (table.parent / other).exists()), path)


def _number(text: str, *, whole: bool) -> float:
    """A number of at least 0 as spreadsheets and pandas write it.

    Raises:
        ValueError: it is none; the text says what was expected.
    """
    if not _NUMBER.fullmatch(text):
        comma = " with a point, not a comma" if _COMMA.fullmatch(text) else " of at least 0"
        raise ValueError(f"a number{comma}")
    value = float(text)
    if not value < float("inf"):
        raise ValueError("a number that is not so large")
    if whole and not value.is_integer():
        raise ValueError("a whole number")
    return int(value) if whole else value


def _them(count: int) -> str:
    return "it" if count == 1 else "them"


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


INFO = DatasetInfo(
    name="csv",
    load=load,
    layout="""\
--root is a CSV file, or a folder that holds exactly one. Columns, in any order:
  path           video file, relative to the CSV's folder or absolute      (required)
  label          class name                                               (required)
  labels         in place of label: any number of class names, "a; b", for --task multi-label
  id             unique; by default the path (and the segment)
  split          train, val or test
  start_seconds, end_seconds   a segment, start <= time < end, since the video's first frame
  start_frame, end_frame       or by frame number, from 0, the end not included
  group          never divided by a split: source video, subject, episode
  view           camera
  frames_per_second   where path is a folder of numbered images instead of a video""",
    source="your own videos",
)
