"""Read the lists that data sets come with; what is not as expected is said with file and line."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepcli.runtime import json_files
from stepcli.runtime.errors import UsageError


def read_json(file: Path, kind: type) -> Any:
    """A JSON file that must hold a `kind`, e.g. list."""
    return json_files.read_json(file, kind)


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that hold anything, without white space at their ends."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: expected UTF-8 text, but {error}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


@contextmanager
def csv_errors(file: Path) -> Iterator[None]:
    """What is no CSV, said in a line."""
    try:
        yield
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file}: expected a CSV in UTF-8, but {error}") from None


def read_table(file: Path, *columns: str) -> list[dict[str, str]]:
    """A CSV with a header line; every one of `columns` must be there."""
    with csv_errors(file), file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        found = list(reader.fieldnames or ())
        missing = [name for name in columns if name not in found]
        if missing:
            raise UsageError(
                f"{file}: the column {' and '.join(map(repr, missing))} is missing; "
                f"found {', '.join(map(repr, found)) or 'no header line at all'}"
            )
        return [{name: value or "" for name, value in row.items() if name} for row in reader]


def read_rows(file: Path, width: int, delimiter: str = ",") -> list[list[str]]:
    """A CSV without a header line; every line must have at least `width` fields."""
    with csv_errors(file), file.open(newline="", encoding="utf-8-sig") as lines:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    for number, row in enumerate(rows, start=1):
        if len(row) < width:
            raise UsageError(
                f"{file}, line {number}: expected {width} fields with {delimiter!r} between them, "
                f"found {len(row)}"
            )
    return rows


def whole_number(text: str, file: Path, what: str) -> int:
    """An integer out of a list, or an error that names the file and the field."""
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{file}: {what} is {text!r}, expected a whole number") from None


def note_missing(listed: int, found: int, what: str) -> tuple[str, ...]:
    """A note about listed clips that are not on the disk; () when all are."""
    if found == listed:
        return ()
    return (f"{listed - found} of {listed} listed {what} are not on the disk and are left out",)
