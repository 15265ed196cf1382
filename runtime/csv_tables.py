"""CSV files of users, read whole; errors name the lines."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted

LARGEST = 1 << 30
"""Bytes; a larger file is refused unread."""
SEPARATORS = (",", ";", "\t")
"""The first of them that gives the required columns is taken: spreadsheets write all three."""
SHOWN_LINES = 20
"""Wrong lines in a message."""
_WIDE = (b"\xff\xfe", b"\xfe\xff")
"""How UTF-16 begins, which spreadsheets call Unicode text."""


class MissingColumns(UsageError):
    """A CSV file without a column that it must have."""

    def __init__(self, text: str, found: Sequence[str]) -> None:
        super().__init__(text)
        self.found = found
        """Names of those that it has."""


@dataclass(slots=True)
class WrongLines:
    """Errors in the lines of a file, collected for one message."""

    path: Path
    unit: str = "line"
    """What the file calls a line."""
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, text: str) -> None:
        """Note a line, counted from 1."""
        self.found.append((number, text))

    def refuse(self) -> None:
        """Do nothing where no line is wrong.

        Raises:
            UsageError: naming the first `SHOWN_LINES` of them, and how many more there are.
        """
        if not self.found:
            return
        if len(self.found) == 1:
            number, text = self.found[0]
            raise UsageError(f"{self.path}, {self.unit} {number}: {text}")
        found = sorted(self.found, key=itemgetter(0))
        texts = [f"{self.unit} {number}: {text}" for number, text in found]
        more = len(texts) - SHOWN_LINES
        raise UsageError(
            f"{self.path}: {counted(len(texts), f'wrong {self.unit}')}: "
            + "; ".join(texts[:SHOWN_LINES])
            + (f"; and {more} more" if more > 0 else "")
        )


@dataclass(frozen=True, slots=True)
class TextTable:
    """The columns and lines of a CSV file, every cell stripped."""

    columns: list[str]
    """"" for a column without a name."""
    lines: list[tuple[int, list[str]]]
    """Number in the file, counted from 1, and cells; blank lines are left out."""
    raw: dict[int, list[str]]
    """Cells as written, of the lines where stripping changed one."""
    separator: str


def read_table(path: Path, columns: Sequence[str]) -> TextTable:
    """Read a CSV file.

    Args:
        path: a UTF-8 file with a header line; cells separated by commas, semicolons or tabs.
        columns: those that it must have; others may be there too.

    Raises:
        UsageError: no such file, not such a table, or a column that appears twice.
    """
    with csv_errors(path):
        with path.open("rb") as start:
            if start.read(2) in _WIDE:
                raise UsageError(
                    f"{path}: expected UTF-8 text, found UTF-16; save it as CSV in UTF-8"
                )
        found, separator = _header(path, columns)
        lines, raw = [], {}
        for number, cells in _cells(path, separator, header=True):
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                lines.append((number, stripped))
                if stripped != cells:
                    raw[number] = cells
    return TextTable(found, lines, raw, separator)


def read_header(path: Path) -> list[str]:
    """Names of the columns, by the separator that gives most; [] of a file that is no table."""
    found: list[str] = []
    try:
        with csv_errors(path):
            for separator in SEPARATORS:
                with path.open(newline="", encoding="utf-8-sig") as file:
                    cells = [cell.strip() for cell in _first(csv.reader(file, delimiter=separator))]
                found = cells if len(cells) > len(found) else found
    except UsageError:
        return []
    return found if all(cell.isprintable() for cell in found) else []


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The lines below the header, each with every column of the file, in order; cells stripped.

    Args:
        path: as of `read_table`.
        columns: those that it must have; others may be there too.

    Raises:
        UsageError: as of `read_table`, or lines with more or fewer cells than the header; the
            message says which.
    """
    table = read_table(path, columns)
    wrong = WrongLines(path)
    width = len(table.columns)
    for number, cells in table.lines:
        if len(cells) != width:
            wrong.add(
                number,
                f"expected the {width} cells of the header, found {len(cells)}; put quotes around "
                f"a text with a {table.separator!r} in it",
            )
    wrong.refuse()
    return [dict(zip(table.columns, cells, strict=True)) for _, cells in table.lines]


def read_rows(path: Path, width: int, separator: str = ",") -> list[list[str]]:
    """The lines of a CSV file without a header, cells stripped; blank lines are left out.

    Args:
        path: a UTF-8 file.
        width: least number of cells in a line.
        separator: of the cells.

    Raises:
        UsageError: no such file, not such a table, or lines with fewer cells; the message says
            which.
    """
    rows, wrong = [], WrongLines(path)
    with csv_errors(path):
        for number, cells in _cells(path, separator):
            stripped = [cell.strip() for cell in cells]
            if not any(stripped):
                continue
            if len(stripped) < width:
                wrong.add(
                    number,
                    f"expected {width} fields with {separator!r} between them, "
                    f"found {len(stripped)}",
                )
            rows.append(stripped)
    wrong.refuse()
    return rows


@contextmanager
def csv_errors(path: Path) -> Iterator[None]:
    """Turn what opening and parsing a CSV file raises into a UsageError."""
    try:
        if path.stat().st_size > LARGEST or not path.is_file():
            raise UsageError(f"{path}: expected a CSV file of at most {LARGEST} bytes")
        yield
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected a CSV file in UTF-8, got: {error}") from None
    except (OSError, csv.Error, ValueError) as error:
        raise UsageError(f"{path}: expected a CSV file, got: {error}") from None


def _cells(path: Path, separator: str, *, header: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Number in the file, and cells, of each line; the header is left out."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        # strict: an open quote would else take all lines below into one cell.
        reader = csv.reader(file, delimiter=separator, strict=True)
        try:
            if header:
                _first(reader)
            for cells in reader:
                yield reader.line_num, cells
        except csv.Error as error:
            raise UsageError(
                f"{path}: expected a CSV file, got: {error} (line {reader.line_num})"
            ) from None


def _first(lines: Iterable[list[str]]) -> list[str]:
    """The first line that is not blank; [] without one."""
    return next((cells for cells in lines if any(map(str.strip, cells))), [])


def _header(path: Path, columns: Sequence[str]) -> tuple[list[str], str]:
    """Names of the columns, and what separates them."""
    plain: list[str] = []
    wanted = {name.strip(): name for name in columns}
    for separator in SEPARATORS:
        with path.open(newline="", encoding="utf-8-sig") as file:
            cells = _first(csv.reader(file, delimiter=separator))
        found = [wanted.get(cell.strip(), cell.strip()) for cell in cells]
        if all(name in found for name in columns):
            if twice := sorted({name for name in found if name and found.count(name) > 1}):
                raise UsageError(f"{path}: the column {twice[0]!r} appears twice in the header")
            return found, separator
        plain = found if len(found) > len(plain) else plain
    header = " ".join(",".join(plain).split())  # a quoted cell may hold lines
    missing = [name for name in columns if name not in plain]
    raise MissingColumns(
        f"{path}: expected the columns {','.join(columns[:5])}, found "
        f"{header[:200] or 'nothing'}; missing: {', '.join(missing[:5])}",
        plain,
    )
