"""What extraction found out about clips, for many clips at once."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.parts.index import encode_index, index_schema, record_of, records_of
from stepcli.cache.schema.clips import ClipRecord
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.store import clip_records
from stepcli.cache.store.snapshot import Snapshot, read_index
from stepcli.runtime.errors import ClipNotFound, DamagedStore


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the parts whose index was read, appended as they are."""
    names: list[str] = []

    def counted(root: object, name: str, manifest: object) -> object:
        names.append(name)
        return read_index(root, name, manifest)  # type: ignore[arg-type]

    monkeypatch.setattr(clip_records, "read_index", counted)
    return names


def odd_record(number: int) -> ClipRecord:
    return ClipRecord(
        id=f"odd-{number}",
        source=f"videos/{number % 2}.webm",
        pts_seconds=(0.0, 0.1 * number, 7.0 + number),
        distinct_frames=1 + number % 3,
        frame_height=100 + number,
        frame_width=200 - number,
    )


def test_records_come_in_the_order_asked_for_and_each_part_is_read_once(
    tmp_path: Path, reads: list[str]
) -> None:
    store = create_store(tmp_path / "store", SPEC, dataset="test")
    with store.writer(PRODUCER, part_clips=3) as writer:
        for number in range(10):
            writer.add(odd_record(number), make_tokens(f"odd-{number}"))
    store.refresh()
    asked = [7, 0, 9, 3, 3, 1, 7]
    expected = [odd_record(number) for number in asked]
    assert store.records([f"odd-{number}" for number in asked]) == expected
    assert sorted(reads) == sorted(store.parts)
    assert store.records(np.array([store.ids.index(f"odd-{n}") for n in asked])) == expected
    assert store.records([]) == []
    reads.clear()
    store.refresh()
    assert [store.record(f"odd-{number}") for number in range(2)] == list(map(odd_record, range(2)))
    assert reads == [], "parts never change, and none is new"
    with pytest.raises(ClipNotFound, match="'nowhere'"):
        store.records(["odd-1", "nowhere"])


def test_they_follow_clips_into_another_part(tmp_path: Path) -> None:
    reader = fill_store(tmp_path / "store", "zarr", 9, part_clips=2)
    compact_store(reader.path)
    assert reader.records(clip_ids(9)) == [make_record(clip) for clip in clip_ids(9)]


@pytest.mark.parametrize("change", ["rows swapped", "rows past the end"])
def test_a_row_of_another_clip_is_an_error(tmp_path: Path, change: str) -> None:
    store = fill_store(tmp_path / "store", "zarr", 4, part_clips=4)
    snapshot = store.snapshot
    rows = snapshot.row_of[::-1].copy() if change == "rows swapped" else snapshot.row_of + 3
    store._snapshot = Snapshot(
        snapshot.parts,
        snapshot.ids,
        snapshot.part_of,
        snapshot.offsets,
        snapshot.crc32c_of,
        rows,
    )
    with pytest.raises(DamagedStore, match="clip 'clip-000"):
        store.records(clip_ids(4))


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    store = fill_store(tmp_path / "store", "zarr", 4, part_clips=2)
    shutil.rmtree(store.path / "parts" / store.locate("clip-0002")[0])
    assert len(store.records(clip_ids(4)[:2])) == 2
    with pytest.raises(ClipNotFound, match="'clip-0002' no more"):
        store.records(clip_ids(4))
    assert open_store(tmp_path / "store").ids == clip_ids(4)[:2]


def test_reading_columns_gives_what_reading_rows_gives(tmp_path: Path) -> None:
    from stepcli.cache.parts.index import decode_index

    layout = part_layout(SPEC)
    records = [odd_record(number) for number in range(7)]
    offsets = {
        array.name: np.arange(7, dtype=np.int64) * array.clip_bytes for array in layout.arrays
    }
    table = decode_index(
        encode_index(records, offsets, [0] * 7, layout), 7, layout, tmp_path / "index.parquet"
    )
    assert table.schema.names == index_schema(layout).names
    assert records_of(table) == list(map(record_of, table.to_pylist())) == records
    assert records_of(table.slice(2, 3)) == records[2:5], "a slice of a list column has an offset"
    assert records_of(table.take([5, 1])) == [records[5], records[1]]
    assert records_of(table.slice(0, 0)) == []
