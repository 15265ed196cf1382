"""The rows of clips.parquet and classes.csv, as bytes and back."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Generic, Literal, TypeVar, get_args

import pyarrow as pa

from stepcli.cache.parts.index import (
    INDEX_LIMIT,
    TEXT_LIMIT,
    decode_table,
    encode_table,
    is_storable,
)
from stepcli.cache.schema.clips import ClassKind, ClassRow, ClipRow, SegmentRow
from stepcli.cache.storage.path import Location
from stepcli.cache.tables.digests import CLASSES, CLIPS, SEGMENTS
from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.sealed_json import SEALED_LIMIT

ROWS_LIMIT = 1 << 26
CLASSES_LIMIT = 1 << 20

SCHEMA = pa.schema([(field.name, pa.string()) for field in fields(ClipRow)])
SEGMENTS_SCHEMA = pa.schema(
    [
        ("recording", pa.string()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("label", pa.string()),
    ]
)
_KINDS: dict[str, ClassKind] = {kind: kind for kind in get_args(ClassKind)}

Row = TypeVar("Row")


@dataclass(frozen=True)
class Table(Generic[Row]):
    """One of the tables: its file, and how rows become bytes and bytes rows."""

    name: str
    limit: int
    """Bytes."""
    decode: Callable[[bytes, Location], list[Row]]
    encode: Callable[[Sequence[Row]], bytes]


def parse_classes(text: str, place: Location) -> list[ClassRow]:
    """Read the lines of a classes.csv."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    names = [field.name for field in fields(ClassRow)]
    rows = []
    try:
        if reader.fieldnames is None or list(reader.fieldnames) != names:
            raise DamagedStore(f"{place}: expected the columns {','.join(names)}")
        for line in reader:
            if None in line or None in line.values():
                raise DamagedStore(f"{place}: line {reader.line_num} has not {len(names)} cells")
            kind = _KINDS.get(line["kind"])
            if kind is None:
                raise DamagedStore(
                    f"{place}: line {reader.line_num}: kind {line['kind']!r}, "
                    f"expected one of {', '.join(map(repr, _KINDS))}"
                )
            if not 0 <= (index := int(line["index"])) < CLASSES_LIMIT:
                raise ValueError(f"index {index}, expected 0 to {CLASSES_LIMIT - 1}")
            rows.append(
                ClassRow(
                    name=line["name"],
                    index=index,
                    partner=line["partner"],
                    kind=kind,
                    mirror=line["mirror"],
                    prompt=line["prompt"],
                )
            )
    except (csv.Error, ValueError) as error:
        raise DamagedStore(f"{place}: line {reader.line_num}: {error}") from error
    try:
        _require_distinct_classes(rows)
    except UsageError as error:
        raise DamagedStore(f"{place}: {error}") from error
    return rows


def _decode_classes(data: bytes, path: Location) -> list[ClassRow]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DamagedStore(f"{path}: not UTF-8 text ({error.reason})") from error
    return sorted(parse_classes(text, path), key=lambda row: row.index)


def _encode_classes(rows: Sequence[ClassRow]) -> bytes:
    _require_distinct_classes(rows)
    for row in rows:
        if not all(is_storable(text) for text in (row.name, row.partner, row.mirror, row.prompt)):
            raise UsageError(
                f"class {row.name!r}: texts must be UTF-8 of at most {TEXT_LIMIT} bytes"
            )
    text = io.StringIO()
    names = [field.name for field in fields(ClassRow)]
    # Python's csv leaves a lone carriage return without quotes, and then cannot read it.
    returns = any("\r" in str(cell) for row in rows for cell in asdict(row).values())
    quoting: Literal[0, 1] = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(text, names, lineterminator="\n", quoting=quoting)
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue().encode()


def _decode_clips(data: bytes, path: Location) -> list[ClipRow]:
    # The user may have written it with other tools, which compress.
    table = decode_table(data, SCHEMA, path, ROWS_LIMIT, compressed=True)
    return [ClipRow(*cells) for cells in zip(*(c.to_pylist() for c in table.columns), strict=True)]


def _encode_clips(rows: Sequence[ClipRow]) -> bytes:
    for row in rows:
        if not all(is_storable(getattr(row, name)) for name in SCHEMA.names):
            raise UsageError(
                f"clip {row.id!r}: id, label, split, group and view must be UTF-8 of at most "
                f"{TEXT_LIMIT} bytes each"
            )
    ids = [row.id for row in rows]
    if "" in ids:
        raise UsageError("a clip without an id; give every line of the clips table one")
    _require_distinct(ids, "clip id")
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    return encode_table(pa.table(columns, schema=SCHEMA))


def _decode_segments(data: bytes, path: Location) -> list[SegmentRow]:
    table = decode_table(data, SEGMENTS_SCHEMA, path, ROWS_LIMIT, compressed=True)
    return [
        SegmentRow(*cells) for cells in zip(*(c.to_pylist() for c in table.columns), strict=True)
    ]


def _encode_segments(rows: Sequence[SegmentRow]) -> bytes:
    for row in rows:
        if not (row.recording and row.label and all(map(is_storable, (row.recording, row.label)))):
            raise UsageError(
                f"segment of {row.recording!r}: recording and label must be UTF-8 of 1 to "
                f"{TEXT_LIMIT} bytes each"
            )
        if not 0 <= row.start_seconds < row.end_seconds < float("inf"):
            raise UsageError(
                f"segment of {row.recording!r} from {row.start_seconds} to {row.end_seconds} s: "
                "expected a start of at least 0, and an end after it"
            )
    columns = {name: [getattr(row, name) for row in rows] for name in SEGMENTS_SCHEMA.names}
    return encode_table(pa.table(columns, schema=SEGMENTS_SCHEMA))


def _require_distinct_classes(rows: Sequence[ClassRow]) -> None:
    for key in ("name", "index"):
        _require_distinct([getattr(row, key) for row in rows], f"class {key}")


def _require_distinct(values: Sequence[object], what: str) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise UsageError(f"{what} {value!r} occurs twice; it must name one line")
        seen.add(value)


CLIP_TABLE = Table(CLIPS, INDEX_LIMIT, _decode_clips, _encode_clips)
CLASS_TABLE = Table(CLASSES, SEALED_LIMIT, _decode_classes, _encode_classes)
SEGMENT_TABLE = Table(SEGMENTS, INDEX_LIMIT, _decode_segments, _encode_segments)
