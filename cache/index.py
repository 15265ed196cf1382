"""index.parquet: one row a clip of a part, in the order of the tokens."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stepcli.cache.clips import ClipRecord
from stepcli.cache.errors import DamagedStore

INDEX_LIMIT = 1 << 30
"""Bytes: no index is larger; one that is gets refused unread."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("pts_seconds", pa.list_(pa.float64())),
        ("distinct_frames", pa.int32()),
        ("frame_height", pa.int32()),
        ("frame_width", pa.int32()),
        ("offset", pa.int64()),
        ("crc32c", pa.uint32()),
    ]
)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """Where a clip's tokens lie and what they are."""

    record: ClipRecord
    offset: int
    """Of the clip's first byte in the part's token file."""
    crc32c: int
    """Of the clip's bytes as stored."""


def encode_index(rows: Sequence[IndexRow]) -> bytes:
    """The Parquet file of a part's index."""
    records = [row.record for row in rows]
    columns: dict[str, list[object]] = {
        name: [getattr(record, name) for record in records]
        for name in SCHEMA.names
        if name not in ("offset", "crc32c")
    }
    columns["offset"] = [row.offset for row in rows]
    columns["crc32c"] = [row.crc32c for row in rows]
    return encode_table(pa.table(columns, schema=SCHEMA))


def encode_table(table: pa.Table) -> bytes:
    """A Parquet file as bytes, any Parquet reader's defaults."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def decode_table(data: bytes, schema: pa.Schema, place: Path | str, rows: int) -> pa.Table:
    """Parse a Parquet file from bytes that need not be trusted.

    Args:
        data: the file.
        schema: names and types that the columns must have.
        place: for the error's text.
        rows: at most so many rows are read.

    Raises:
        DamagedStore: it is no such table.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        found = file.metadata.num_rows
        if not 0 <= found <= rows:
            raise DamagedStore(f"{place}: expected at most {rows} rows, found {found}")
        if not file.schema_arrow.equals(schema):
            raise DamagedStore(f"{place}: expected columns {schema.names}, found others")
        table = file.read(use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedStore(f"{place}: not a Parquet file that can be read ({reason})") from error
    if any(column.null_count for column in table.columns):
        raise DamagedStore(f"{place}: empty cells where every cell has a value")
    return table


def decode_index(data: bytes, clips: int, place: Path | str) -> pa.Table:
    """Parse a part's index and check that it can be one.

    Raises:
        DamagedStore: it has other columns, another number of rows, or repeats an id.
    """
    table = decode_table(data, SCHEMA, place, clips)
    if table.num_rows != clips:
        raise DamagedStore(f"{place}: expected {clips} rows, found {table.num_rows}")
    offsets = table["offset"].to_numpy()
    if offsets.size and (offsets[0] < 0 or np.any(np.diff(offsets) <= 0)):
        raise DamagedStore(f"{place}: byte offsets must ascend from 0 or more")
    return table


def record_at(table: pa.Table, row: int) -> ClipRecord:
    """What extraction found out about the clip in one row."""
    cells = table.slice(row, 1).to_pylist()[0]
    return ClipRecord(
        id=cells["id"],
        source=cells["source"],
        pts_seconds=tuple(cells["pts_seconds"]),
        distinct_frames=cells["distinct_frames"],
        frame_height=cells["frame_height"],
        frame_width=cells["frame_width"],
    )
