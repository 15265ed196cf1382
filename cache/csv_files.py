"""CSV files that people hand over: read whole; what is not as expected is said with its line."""

import csv
from collections.abc import Sequence
from pathlib import Path

from stepcli.cache.errors import UsageError

LARGEST = 1 << 30
"""Bytes; a larger file is refused unread."""
SEPARATORS = (",", ";", "\t")
"""The first of them that gives the required columns is taken: spreadsheets write all three."""


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The lines below the header, each with every column of the file, in order; cells stripped.

    Args:
        path: a UTF-8 file with a header line; cells separated by commas, semicolons or tabs.
        columns: those that it must have; others may be there too.

    Raises:
        UsageError: no such file, not such a table, a column that appears twice, or a line with more
            or fewer cells than the header; the message says which.
    """
    lines = []
    try:
        if path.stat().st_size > LARGEST or not path.is_file():
            raise UsageError(f"{path}: expected a CSV file of at most {LARGEST} bytes")
        found, separator = _header(path, columns)
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=separator)
            next(reader, None)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(found):
                    raise UsageError(
                        f"{path}: line {reader.line_num} has not the {len(found)} cells of the "
                        f"header; put quotes around a text with a {separator!r} in it"
                    )
                lines.append(dict(zip(found, (cell.strip() for cell in cells), strict=True)))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UsageError(f"{path}: expected a CSV file, got: {error}") from None
    return lines


def _header(path: Path, columns: Sequence[str]) -> tuple[list[str], str]:
    """Names of the columns, and what separates them."""
    plain: list[str] = []
    wanted = {name.strip(): name for name in columns}
    for separator in SEPARATORS:
        with path.open(newline="", encoding="utf-8-sig") as file:
            cells = next(csv.reader(file, delimiter=separator), [])
        found = [wanted.get(cell.strip(), cell.strip()) for cell in cells]
        if all(name in found for name in columns):
            if twice := sorted({name for name in found if name and found.count(name) > 1}):
                raise UsageError(f"{path}: the column {twice[0]!r} appears twice in the header")
            return found, separator
        plain = plain or found
    header = " ".join(",".join(plain).split())  # a quoted cell may hold lines
    missing = [name for name in columns if name not in plain]
    raise UsageError(
        f"{path}: expected the columns {','.join(columns[:5])}, found "
        f"{header[:200] or 'nothing'}; missing: {', '.join(missing[:5])}"
    )
