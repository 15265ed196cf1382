"""Parquet files that need not be trusted, read whole within bounds that are checked first."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.parquet_bounds import measure

LARGEST = 1 << 30
"""Bytes: no table is larger, packed or unpacked; one that is gets refused unread."""


def read_parquet(
    data: bytes,
    place: object,
    *,
    rows: int,
    values: int,
    compressed: bool = True,
    dictionaries: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    optional: Sequence[str] = (),
) -> pa.Table:
    """Parse a Parquet file of bounded size.

    Args:
        data: the file.
        place: for the error's text.
        rows: maximum number of rows.
        values: maximum number of values in a column: as many as rows, or more for lists.
        compressed: take compressed columns too, up to `LARGEST` bytes unpacked.
        dictionaries: columns of texts; one that is repeated in every row takes its memory once.
        columns: those to read; None: all.
        optional: columns to read as well where the file has them.

    Raises:
        DamagedStore: it is larger, lacks a column, or is no such file.
    """
    try:
        extent = measure(data)
        if extent.rows > rows:
            raise DamagedStore(f"{place}: expected at most {rows} rows, found {extent.rows}")
        if extent.most_values > values:
            raise DamagedStore(
                f"{place}: expected at most {values} values, found {extent.most_values}"
            )
        if extent.compressed and not compressed:
            raise DamagedStore(f"{place}: compressed; write it as stepcli does")
        if extent.unpacked_bytes > LARGEST:
            raise DamagedStore(
                f"{place}: {extent.unpacked_bytes} bytes unpacked, expected at most {LARGEST}"
            )
        file = pq.ParquetFile(
            pa.BufferReader(data),
            page_checksum_verification=True,
            read_dictionary=list(dictionaries),
            arrow_extensions_enabled=False,
        )
        found = file.schema_arrow.names
        present = [name for name in optional if name in found]
        wrong = [name for name in (*(columns or ()), *present) if found.count(name) != 1]
        if wrong:
            raise DamagedStore(f"{place}: expected the columns {', '.join(wrong)}, each once")
        table = file.read(columns=columns and [*columns, *present], use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedStore(f"{place}: not a Parquet file that can be read ({reason})") from error
    return table


def numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A column of numbers, none of them missing.

    Not by pyarrow's to_numpy: where pandas is installed that imports it, a third of a second.
    """
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(whole)


def rows_at(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Rows of a table, by their numbers [n], none of them beyond its end.

    Not by a NumPy array in pyarrow's take: that imports pandas, too.
    """
    places = np.ascontiguousarray(rows, np.int64)
    return table.take(pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(places)]))
