"""Read the lists that data sets come with; errors name file and line."""

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
