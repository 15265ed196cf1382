"""CSV files that people hand over: read whole; what is not as expected is said with its line."""

import csv
from collections.abc import Sequence
from pathlib import Path

from stepcli.cache.errors import UsageError

LARGEST = 1 << 30
"""Bytes; a larger file is refused unread."""


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The lines below the header, each with every column of the file, in order.

    Args:
        path: a UTF-8 file with a header line.
        columns: those that it must have; others may be there too.

    Raises:
        UsageError: no such file, not such a table, or a line with more or fewer cells than the
            header; the message says which.
    """
    lines = []
    try:
        if path.stat().st_size > LARGEST or not path.is_file():
            raise UsageError(f"{path}: expected a CSV file of at most {LARGEST} bytes")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found = list(reader.fieldnames or ())
            missing = [name for name in columns if name not in found]
            if missing:
                header = " ".join(",".join(found).split())  # a quoted cell may hold lines
                raise UsageError(
                    f"{path}: expected the columns {','.join(columns[:5])}, found "
                    f"{header[:200] or 'nothing'}; missing: {', '.join(missing[:5])}"
                )
            for line in reader:
                if None in line or None in line.values():
                    raise UsageError(
                        f"{path}: line {reader.line_num} has not the {len(found)} cells of the "
                        "header; put quotes around a text with a comma in it"
                    )
                lines.append(line)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UsageError(f"{path}: expected a CSV file, got: {error}") from None
    return lines
