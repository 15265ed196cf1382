"""index.parquet: one row per clip of a part, in the order of the tokens."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stepcli.cache.schema.clips import ClipRecord
from stepcli.cache.schema.part_layout import TOKENS, ArrayLayout, PartLayout
from stepcli.cache.storage.path import Location
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.parquet_tables import LARGEST, numbers, read_parquet

TEXT_LIMIT = 1 << 15
"""Bytes of an id, a path, a label: no longer ones are read."""
INDEX_LIMIT = LARGEST
"""Bytes: no index is larger."""
COMPRESSED = -1
"""Byte offset, in an index of earlier versions, of a clip in a compressed part."""

RECORD_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("pts_seconds", pa.list_(pa.float64())),
        ("distinct_frames", pa.int32()),
        ("frame_height", pa.int32()),
        ("frame_width", pa.int32()),
    ]
)
"""Columns of an index that make a clip's record."""


def offset_column(array: ArrayLayout) -> str:
    """Name of the column with a clip's byte offset in an array's file."""
    return "offset" if array.name == TOKENS else f"{array.name}_offset"


def index_schema(layout: PartLayout) -> pa.Schema:
    """Columns of a part's index: the record, where each array lies, the clip's checksum."""
    offsets = [(offset_column(array), pa.int64()) for array in layout.arrays]
    return pa.schema([*RECORD_SCHEMA, *offsets, ("crc32c", pa.uint32())])


def encode_index(
    records: Sequence[ClipRecord],
    offsets: Mapping[str, np.ndarray],
    checksums: Sequence[int],
    layout: PartLayout,
) -> bytes:
    """The Parquet file of a part's index.

    Args:
        records: of its clips, in the order of the tokens.
        offsets: [clips] by array name: where each clip's bytes begin in the array's file.
        checksums: crc32c of each clip's bytes: tokens, then scales in the layout's order.
        layout: of the store.
    """
    columns: dict[str, object] = {
        name: [getattr(record, name) for record in records] for name in RECORD_SCHEMA.names
    }
    for array in layout.arrays:
        columns[offset_column(array)] = offsets[array.name]
    columns["crc32c"] = list(checksums)
    return encode_table(pa.table(columns, schema=index_schema(layout)))


def is_storable(text: str) -> bool:
    """Whether a table can hold a text: UTF-8 (file names need not be), and not too long."""
    try:
        return len(text.encode()) <= TEXT_LIMIT
    except UnicodeEncodeError:
        return False


def encode_table(table: pa.Table) -> bytes:
    """A Parquet file as bytes; uncompressed, so that a hostile one cannot unpack to terabytes."""
    sink = io.BytesIO()
    pq.write_table(
        table, sink, compression="none", write_page_checksum=True, write_statistics=False
    )
    return sink.getvalue()


def decode_table(
    data: bytes,
    schema: pa.Schema,
    place: Location,
    rows: int,
    *,
    list_values: int = 0,
    compressed: bool = False,
) -> pa.Table:
    """Parse a Parquet file from bytes that need not be trusted.

    Args:
        data: the file.
        schema: names and types that the columns must have.
        place: for the error's text.
        rows: maximum number of rows.
        list_values: maximum number of values in a column of lists.
        compressed: take compressed columns too, up to `INDEX_LIMIT` bytes unpacked.

    Raises:
        DamagedStore: it is no such table.
    """
    texts = [column.name for column in schema if column.type == pa.string()]
    table = read_parquet(
        data,
        place,
        rows=rows,
        values=max(rows, list_values),
        compressed=compressed,
        dictionaries=texts,
    )
    if table.schema.names != schema.names:
        raise DamagedStore(f"{place}: expected columns {schema.names}, found others")
    for name in texts:
        _require_short(table[name], place)
    try:
        table = table.cast(schema.with_metadata(table.schema.metadata))
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DamagedStore(f"{place}: a column of another type ({reason})") from error
    if any(column.null_count for column in table.columns):
        raise DamagedStore(f"{place}: empty cells where every cell has a value")
    return table


def _require_short(column: Any, place: Location) -> None:
    for chunk in column.chunks:
        if not pa.types.is_dictionary(chunk.type) or chunk.dictionary.null_count:
            raise DamagedStore(f"{place}: expected text, found {chunk.type}")
        lengths = numbers(pc.binary_length(chunk.dictionary))
        if lengths.max(initial=0) > TEXT_LIMIT:
            raise DamagedStore(f"{place}: a text longer than {TEXT_LIMIT} bytes")
        counts = np.bincount(numbers(chunk.indices.drop_null()), minlength=len(lengths))
        if int(counts @ lengths) > INDEX_LIMIT:
            raise DamagedStore(f"{place}: more than {INDEX_LIMIT} bytes of text")


def decode_index(data: bytes, clips: int, layout: PartLayout, place: Location) -> pa.Table:
    """Parse a part's index and check that it can be one.

    Raises:
        DamagedStore: it has other columns, another number of rows, or offsets that no writer gives.
    """
    frames = layout.tokens.clip_shape[-3]
    table = decode_table(data, index_schema(layout), place, clips, list_values=clips * frames)
    if table.num_rows != clips:
        raise DamagedStore(f"{place}: expected {clips} rows, found {table.num_rows}")
    for array in layout.arrays:
        offsets = numbers(table[offset_column(array)])
        require_offsets(offsets, array, place)
        # Else a file of one clip could claim to be a million of them, and fill the memory.
        apart = np.diff(np.sort(offsets[offsets >= 0]))
        if np.any(apart < array.clip_bytes):
            raise DamagedStore(f"{place}: clips that share bytes")
    return table


def require_offsets(offsets: np.ndarray, array: ArrayLayout, place: Location) -> None:
    """Refuse byte offsets [clips] that no file of an array can have.

    Raises:
        DamagedStore: one is negative, but for compressed tokens, or too large for any file.
    """
    least = COMPRESSED if array.name == TOKENS else 0
    most = np.iinfo(np.int64).max - array.clip_bytes
    if np.any(offsets < least) or np.any(offsets > most):
        raise DamagedStore(f"{place}: a byte offset that no file has")


def records_of(table: pa.Table) -> list[ClipRecord]:
    """What extraction found out about the clips of an index's rows, column by column.

    Reading columns as a whole is ten times as fast as making a dict of each row.
    """
    times = table["pts_seconds"].combine_chunks()
    ends = np.cumsum(numbers(pc.list_value_length(times))).tolist()
    seconds = numbers(times.flatten()).tolist()
    columns = (table[name].to_pylist() for name in RECORD_SCHEMA.names if name != "pts_seconds")
    ids, sources, distinct, heights, widths = columns
    starts = [0, *ends[:-1]]
    pieces = (tuple(seconds[start:end]) for start, end in zip(starts, ends, strict=True))
    return list(map(ClipRecord, ids, sources, pieces, distinct, heights, widths))


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
