"""What we read of a Parquet file's footer and pages is what pyarrow reads of it."""

import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepcli.cache.parts.index import decode_table
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.parquet_bounds import measure

TABLE = pa.table(
    {
        "text": [f"row {number % 7}" for number in range(3000)],
        "number": list(range(3000)),
        "times": [[0.5 * step for step in range(number % 5)] for number in range(3000)],
    }
)


def parquet(**options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink, **options)
    return sink.getvalue()


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd", "snappy"])
@pytest.mark.parametrize("group", [3000, 700])
@pytest.mark.parametrize("dictionary", [True, False])
def test_agrees_with_pyarrow(version: str, compression: str, group: int, dictionary: bool) -> None:
    data = parquet(
        data_page_version=version,
        compression=compression,
        row_group_size=group,
        use_dictionary=dictionary,
        data_page_size=2000,
        write_page_index=True,
        store_decimal_as_integer=False,
    )
    metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    columns = [
        [metadata.row_group(g).column(c) for g in range(metadata.num_row_groups)]
        for c in range(metadata.num_columns)
    ]
    extent = measure(data)
    assert extent.rows == 3000
    assert extent.most_values == max(sum(c.num_values for c in column) for column in columns)
    assert extent.compressed == (compression != "none")
    total = sum(c.total_uncompressed_size for column in columns for c in column)
    # pyarrow's figure counts the page headers too.
    assert 0.8 * total < extent.unpacked_bytes <= total


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_table_without_rows_is_one(dictionary: bool) -> None:
    sink = io.BytesIO()
    pq.write_table(TABLE.slice(0, 0), sink, use_dictionary=dictionary, compression="none")
    extent = measure(sink.getvalue())
    assert (extent.rows, extent.most_values) == (0, 0)
    table = decode_table(sink.getvalue(), TABLE.schema, "table", 10)
    assert table.num_rows == 0


def test_damage_is_an_error_whatever_it_is() -> None:
    data = parquet(compression="none", write_page_checksum=True)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    generator = random.Random(3)
    refused = 0
    for _ in range(1500):
        bit = generator.randrange(8 * footer, 8 * len(data))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            decode_table(bytes(flipped), TABLE.schema, "a.parquet", 3000, list_values=9000)
        except DamagedStore:
            refused += 1
    assert refused > 300
    for cut in (0, 3, 11, 50, len(data) - 1):
        with pytest.raises(DamagedStore):
            decode_table(data[:cut], TABLE.schema, "a.parquet", 3000)


@pytest.mark.parametrize(
    "footer", [b"", b"\x19" * 5000, b"\x1c" * 5000, b"\xff" * 100, b"\x15" + b"\xff" * 30, b"\x00"]
)
def test_footers_that_are_none(footer: bytes) -> None:
    data = b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(ValueError, match=r"field|value|bits|type"):
        measure(data)
