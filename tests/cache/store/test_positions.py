"""Positions in `store.ids` name the same clips until `refresh`, whatever happens to the parts."""

import threading
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens
from store_commands import run

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.merge import merge_stores
from stepcli.cache.parts.commit import Staging, remove_part
from stepcli.cache.parts.tombstones import bury
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.store.snapshot import GONE, Snapshot
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import ClipNotFound, DamagedStore


def stored(clips: list[str]) -> np.ndarray:
    return np.stack([make_tokens(clip) for clip in clips]).astype(np.float16)


def add(store: Store, clips: list[str]) -> None:
    store.add_clips(ClipRow(clip, "new") for clip in clips)
    with store.writer(PRODUCER) as writer:
        for clip in clips:
            writer.add(make_record(clip), make_tokens(clip))


@pytest.fixture(params=["disk", "S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("url") if request.param == "S3" else tmp_path / "store")


def test_after_a_compact_positions_name_the_clips_that_they_named(place: str) -> None:
    store = fill_store(place, "zarr", 6, part_clips=2)
    ids, places = store.ids, np.arange(6)[::-1]
    add(open_store(place), ["a-first", "clip-0002-b"])  # they sort between
    compact_store(place)
    np.testing.assert_array_equal(store.read(places), stored(ids[::-1]))
    np.testing.assert_array_equal(store.read_arrays(places)[0], stored(ids[::-1]))
    assert store.ids is ids
    assert len(store) == 6
    assert "a-first" not in store
    assert [store.record(clip).id for clip in ids] == ids
    store.refresh()
    assert store.ids == sorted([*ids, "a-first", "clip-0002-b"])
    np.testing.assert_array_equal(store.read(np.arange(8)), stored(store.ids))


def test_after_a_merge_and_another_compact(tmp_path: Path) -> None:
    store = fill_store(tmp_path / "store", "hdf5", 6, part_clips=2)
    ids = list(store.ids)
    other = create_store(tmp_path / "other", SPEC, dataset="test", format="hdf5")
    add(other, ["a", "clip-0001-b", "z"])
    for _ in range(2):
        merge_stores(store.path, [other.path])
        compact_store(store.path)
        add(open_store(store.path), ["b"])
        compact_store(store.path)
        np.testing.assert_array_equal(store.read(np.arange(6)), stored(ids))
    assert store.ids == ids
    fresh = open_store(store.path)
    assert store.fingerprint != fresh.fingerprint
    assert len(fresh) == 10


def test_a_process_that_the_store_is_sent_to_numbers_the_clips_alike(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 4, part_clips=2)
    sent = bytes(ForkingPickler.dumps(store))
    add(open_store(tmp_path), ["a-first"])
    there = ForkingPickler.loads(sent)
    assert there.ids == store.ids
    np.testing.assert_array_equal(there.read(np.arange(4)), stored(store.ids))
    there.refresh()
    assert there.ids[0] == "a-first"


def test_a_clip_that_left_the_store_is_named(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 4, part_clips=2)
    sent = bytes(ForkingPickler.dumps(store))
    first = store.parts[0]
    gone = [clip for clip in store.ids if store.snapshot.part_of[store.ids.index(clip)] == 0]
    staging = Staging(tmp_path)
    bury(tmp_path, first, "test", gone)
    remove_part(tmp_path, first, staging)
    staging.close()
    there = ForkingPickler.loads(sent)
    for reader in (store, there):
        with pytest.raises(ClipNotFound, match=f"holds clip '{gone[0]}' no more"):
            reader.read(np.array([reader.ids.index(gone[0])]))
        with pytest.raises(ClipNotFound, match="no more"):
            reader.record(gone[0])
        left = [clip for clip in clip_ids(4) if clip not in gone]
        places = np.array([reader.ids.index(clip) for clip in left])
        np.testing.assert_array_equal(reader.read(places), stored(left))


def test_a_file_that_is_missing_is_no_compaction(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "hdf5", 2)
    (tmp_path / "parts" / store.parts[0] / "tokens.h5").unlink()
    with pytest.raises(DamagedStore, match="this file of a committed part is missing"):
        store.read(np.arange(2))


def test_threads_that_read_by_position_beside_compactions(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 8, part_clips=1)
    expected, wrong = stored(store.ids), []
    done = threading.Event()

    def read() -> None:
        generator = np.random.default_rng(0)
        while not done.is_set():
            places = generator.integers(0, 8, 3)
            if not np.array_equal(store.read(places), expected[places]):
                wrong.append(places)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(2):
        add(open_store(tmp_path), [f"a-{number}", f"clip-0003-{number}"])
        run("compact", "--store", tmp_path)
    done.set()
    for thread in threads:
        thread.join(30)
    assert not wrong
    assert store.ids == clip_ids(8)


def random_snapshot(generator: np.random.Generator, names: list[str]) -> Snapshot:
    ids = sorted(clip_ids(12)[i] for i in generator.permutation(12)[: generator.integers(0, 12)])
    parts = tuple(sorted(generator.choice(names, generator.integers(1, 4), replace=False)))
    count = len(ids)
    return Snapshot(
        parts=parts,
        ids=ids,
        part_of=generator.integers(0, len(parts), count).astype(np.int32),
        offsets={"tokens": generator.integers(0, 1 << 40, count)},
        crc32c_of=generator.integers(0, 1 << 32, count).astype(np.uint32),
        row_of=generator.integers(0, 99, count).astype(np.int32),
    )


def place_of_clip(snapshot: Snapshot, clip: str) -> tuple[object, ...]:
    place = snapshot.positions[clip]
    part = snapshot.parts[snapshot.part_of[place]]
    arrays = (snapshot.offsets["tokens"], snapshot.crc32c_of, snapshot.row_of)
    return part, *(int(array[place]) for array in arrays)


def test_every_clip_is_where_the_newer_snapshot_has_it_or_where_it_was() -> None:
    generator = np.random.default_rng(0)
    names = [f"part-{number}" for number in range(6)]
    for _ in range(300):
        older, newer = (random_snapshot(generator, names) for _ in range(2))
        before = {clip: place_of_clip(older, clip) for clip in older.ids}
        located = older.located_by(newer)
        assert located.ids is older.ids
        for clip in older.ids:
            source = newer if clip in newer.positions else older
            assert place_of_clip(located, clip) == place_of_clip(source, clip)
        assert {clip: place_of_clip(older, clip) for clip in older.ids} == before
        ids = sorted({*older.ids, *newer.ids})
        numbered = newer.with_ids(ids)
        for clip in ids:
            known = clip in newer.positions
            assert place_of_clip(numbered, clip)[0] == (
                place_of_clip(newer, clip)[0] if known else GONE
            )
