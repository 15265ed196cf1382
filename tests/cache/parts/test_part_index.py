"""The index of a part: what it says, and what no writer puts into one."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from sample_clips import SPEC, clip_ids, make_record

from stepcli.cache.parts.index import decode_index, encode_index, is_storable
from stepcli.cache.schema.clips import ClipRecord
from stepcli.cache.schema.part_layout import part_layout
from stepcli.runtime.errors import DamagedStore

LAYOUT = part_layout(SPEC)


def test_what_an_index_says_is_what_was_given() -> None:
    records = [make_record(clip) for clip in clip_ids(3)]
    size = LAYOUT.tokens.clip_bytes
    offsets = {"tokens": np.arange(3) * size + 512}
    data = encode_index(records, offsets, [1, 2, 2**32 - 1], LAYOUT)
    table = decode_index(data, 3, LAYOUT, "index")
    assert table["id"].to_pylist() == clip_ids(3)
    assert table["offset"].to_pylist() == [512, 512 + size, 512 + 2 * size]
    assert table["crc32c"].to_pylist() == [1, 2, 2**32 - 1]
    with pytest.raises(DamagedStore, match="index: expected at most 2 rows, found 3"):
        decode_index(data, 2, LAYOUT, "index")
    with pytest.raises(DamagedStore, match="index: expected 4 rows, found 3"):
        decode_index(data, 4, LAYOUT, "index")


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 179], "clips that share bytes"),
        ([0, 0], "clips that share bytes"),
        ([-2, 400], "a byte offset that no file has"),
        ([0, 2**63 - 180], "a byte offset that no file has"),
        ([0, 180], ""),
        ([180, 0], ""),
        ([-1, -1], ""),
        ([0, 2**63 - 181], ""),
    ],
)
def test_offsets_that_no_writer_gives(offsets: list[int], message: str) -> None:
    assert LAYOUT.tokens.clip_bytes == 180
    records = [make_record(clip) for clip in clip_ids(2)]
    data = encode_index(records, {"tokens": np.array(offsets)}, [0, 0], LAYOUT)
    if not message:
        assert decode_index(data, 2, LAYOUT, "index").num_rows == 2
        return
    with pytest.raises(DamagedStore, match=message):
        decode_index(data, 2, LAYOUT, "index")


def test_texts_that_an_index_can_hold() -> None:
    assert is_storable("")
    assert is_storable("x" * (1 << 15))
    assert not is_storable("x" * ((1 << 15) + 1))
    assert not is_storable("é" * (1 << 14) + "x")
    assert not is_storable("\udcff")
    long = ClipRecord("x" * 40_000, "s", (0.0, 0.1, 0.2), 3, 1, 1)
    data = encode_index([long], {"tokens": np.zeros(1, int)}, [0], LAYOUT)
    with pytest.raises(DamagedStore, match="a text longer than 32768 bytes"):
        decode_index(data, 1, LAYOUT, "index")


def test_the_longest_text_that_is_stored_is_read_again() -> None:
    longest = ClipRecord("x" * (1 << 15), "s", (0.0, 0.1, 0.2), 3, 1, 1)
    data = encode_index([longest], {"tokens": np.zeros(1, int)}, [0], LAYOUT)
    assert decode_index(data, 1, LAYOUT, "index")["id"].to_pylist() == [longest.id]


@pytest.mark.parametrize(("offset", "held"), [(0, True), (-1, False)])
def test_scales_lie_in_files_of_their_own_from_the_first_byte(offset: int, held: bool) -> None:
    """-1 stands for compressed tokens of earlier versions; scales never were compressed."""
    layout = part_layout(SPEC.model_copy(update={"dtype": "int8"}))
    offsets = {"tokens": np.array([-1]), "scales": np.array([offset])}
    data = encode_index([make_record("clip")], offsets, [0], layout)
    if held:
        assert decode_index(data, 1, layout, "index")["scales_offset"].to_pylist() == [0]
        return
    with pytest.raises(DamagedStore, match="a byte offset that no file has"):
        decode_index(data, 1, layout, "index")


def test_an_index_that_is_compressed_is_no_index() -> None:
    """Uncompressed, it cannot unpack to more than it is."""
    data = encode_index([make_record("clip")], {"tokens": np.zeros(1, int)}, [0], LAYOUT)
    sink = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(data)), sink, compression="zstd")
    with pytest.raises(DamagedStore, match="compressed"):
        decode_index(sink.getvalue(), 1, LAYOUT, "index")
