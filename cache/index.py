"""index.parquet: one row a clip of a part, in the order of the tokens."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stepcli.cache.clips import ClipRecord
from stepcli.cache.errors import DamagedStore
from stepcli.cache.token_layout import TOKENS, ArrayLayout, TokenLayout

INDEX_LIMIT = 1 << 30
"""Bytes: no index is larger; one that is gets refused unread."""

_RECORD = [
    ("id", pa.string()),
    ("source", pa.string()),
    ("pts_seconds", pa.list_(pa.float64())),
    ("distinct_frames", pa.int32()),
    ("frame_height", pa.int32()),
    ("frame_width", pa.int32()),
]


def offset_column(array: ArrayLayout) -> str:
    """Name of the column with a clip's byte offset in an array's file."""
    return "offset" if array.name == TOKENS else f"{array.name}_offset"


def index_schema(layout: TokenLayout) -> pa.Schema:
    """Columns of a part's index: the record, where each array lies, the clip's checksum."""
    offsets = [(offset_column(array), pa.int64()) for array in layout.arrays]
    return pa.schema([*_RECORD, *offsets, ("crc32c", pa.uint32())])


def encode_index(
    records: Sequence[ClipRecord],
    offsets: Mapping[str, np.ndarray],
    checksums: Sequence[int],
    layout: TokenLayout,
) -> bytes:
    """The Parquet file of a part's index.

    Args:
        records: of its clips, in the order of the tokens.
        offsets: [clips] by array name: where each clip's bytes begin in the array's file.
        checksums: crc32c of each clip's bytes: tokens, then scales in the layout's order.
        layout: of the store.
    """
    columns: dict[str, object] = {
        name: [getattr(record, name) for record in records] for name, _ in _RECORD
    }
    for array in layout.arrays:
        columns[offset_column(array)] = offsets[array.name]
    columns["crc32c"] = list(checksums)
    return encode_table(pa.table(columns, schema=index_schema(layout)))


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


def decode_index(data: bytes, clips: int, layout: TokenLayout, place: Path | str) -> pa.Table:
    """Parse a part's index and check that it can be one.

    Raises:
        DamagedStore: it has other columns, another number of rows, or repeats an id.
    """
    table = decode_table(data, index_schema(layout), place, clips)
    if table.num_rows != clips:
        raise DamagedStore(f"{place}: expected {clips} rows, found {table.num_rows}")
    for array in layout.arrays:
        offsets = table[offset_column(array)].to_numpy()
        if np.any(offsets < 0) or np.any(offsets > np.iinfo(np.int64).max - array.clip_bytes):
            raise DamagedStore(f"{place}: a byte offset that no file has")
    return table


def record_of(cells: Mapping[str, Any]) -> ClipRecord:
    """What extraction found out about the clip in one row of an index."""
    return ClipRecord(
        id=cells["id"],
        source=cells["source"],
        pts_seconds=tuple(cells["pts_seconds"]),
        distinct_frames=cells["distinct_frames"],
        frame_height=cells["frame_height"],
        frame_width=cells["frame_width"],
    )
