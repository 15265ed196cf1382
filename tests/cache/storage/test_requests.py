"""What is asked of object storage, and how often: nothing written to read, one request a range."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from failing_proxy import Fault, failing_proxy
from sample_clips import clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import open_store, stream_clips
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.convert import convert_store
from stepcli.cache.maintenance.merge import merge_stores
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.scan import part_clips
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.storage.places import place_of
from stepcli.cache.store.snapshot import read_index
from stepcli.runtime.errors import DamagedStore, StoreError

WRITING = ("PUT", "POST", "DELETE")


def stored(clips: list[str]) -> np.ndarray:
    return np.stack([make_tokens(clip) for clip in clips]).astype(np.float16)


@contextmanager
def read_only(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The same bucket for somebody who may only read; the requests so far."""
    seen: list[str] = []

    def fault_of(number: int) -> Fault:
        return "403" if seen[number].startswith(WRITING) else ""

    with failing_proxy(s3, fault_of) as (endpoint, requests):
        seen = requests
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setattr("stepcli.cache.storage.objects._CLIENTS", {})
        yield requests
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setattr("stepcli.cache.storage.objects._CLIENTS", {})


def indexes(root: StoragePath) -> list[str]:
    return (root / ".cache").child_names()


def test_a_bucket_that_may_only_be_read_is_opened_and_read(
    s3: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_store(url, "zarr", 18, part_clips=1)
    root = place_of(url)
    for name in indexes(root):
        (root / ".cache" / name).remove()
    with read_only(s3, monkeypatch) as seen:
        store = open_store(url)
        assert store.ids == clip_ids(18)
        np.testing.assert_array_equal(store.read(store.ids[:3]), stored(store.ids[:3]))
        assert [row.id for row in store.clips()] == store.ids
        assert store.classes() == []
        assert len([ids for ids, _ in stream_clips(store, batch=6)]) == 3
        store.refresh()
        assert verify_store(url).ok
        assert not [line for line in seen if line.startswith(WRITING)]
        with pytest.raises(StoreError, match="refused"):
            store.add_clips([*store.clips()[:1], *(type(store.clips()[0])("new", "x"),)])
    assert indexes(root) == []


def test_the_index_of_a_bucket_is_written_by_those_who_write_parts(
    url: str, tmp_path: Path
) -> None:
    source = fill_store(tmp_path / "source", "zarr", 20, part_clips=1).path
    for step in ("convert", "merge"):
        target = f"{url}-{step}"
        if step == "convert":
            convert_store(source, target, part_clips=1)
        else:
            fill_store(target, "zarr", 1)
            merge_stores(target, [source])
        kinds = [name.partition("-")[0] for name in indexes(place_of(target))]
        assert kinds == ["index", "records"]
        assert len(open_store(target)) == 20
    filled = fill_store(url, "zarr", 40, part_clips=2)
    assert len(indexes(filled.path)) == 2, "extraction refreshes its store when it is done"
    compact_store(url, part_clips=2)
    assert open_store(url).ids == clip_ids(40)


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_a_range_is_one_request(
    form: str, s3: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_store(url, form, 8, part_clips=4)  # type: ignore[arg-type]
    with read_only(s3, monkeypatch) as seen:
        store = open_store(url)
        ids = store.storage_order(store.ids)
        for clips in ([ids[1]], [ids[2]], ids[4:], ids[:4], [ids[3], ids[0]]):
            before = len(seen)
            np.testing.assert_array_equal(store.read(clips), stored(clips))
            assert len(seen) == before + 1, seen[before:]
        before = len(seen)
        np.testing.assert_array_equal(store.read(ids), stored(ids))
        assert len(seen) == before + 2, "one a part"


def test_clips_that_are_copied_or_checked_take_one_request_each(
    s3: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_store(url, "zarr", 4, part_clips=4)
    with read_only(s3, monkeypatch) as seen:
        store = open_store(url)
        (part,) = store.parts
        index = read_index(store.path, part, store.manifest)
        before = len(seen)
        copied = [clip.arrays[0] for clip in part_clips(store.path, part, store.manifest, index)]
        np.testing.assert_array_equal(copied, stored(clip_ids(4)))
        asked = [line for line in seen[before:] if "tokens.zarr" in line]
        assert len(asked) == 4, asked
        assert {line.split()[0] for line in asked} == {"GET"}


def test_a_file_that_is_read_as_a_whole_takes_one_request_per_block(
    s3: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepcli.cache.storage.objects.BLOCK_BYTES", 1000)
    content = {1: bytes(2500), 2: bytes(1000), 0: b""}
    for number, data in content.items():
        path = place_of(url) / f"file-{number}"
        path.write(data)
        with read_only(s3, monkeypatch) as seen:
            assert b"".join(bytes(block) for block in path.blocks()) == data
            assert len(seen) == max(1, -(-len(data) // 1000)), seen
            assert path.download(tmp_path / path.name) == len(data)
            assert {line.split()[0] for line in seen} == {"GET"}


def test_the_metadata_of_many_clips_takes_two_requests_per_part(
    s3: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_store(url, "zarr", 12, part_clips=4)
    with read_only(s3, monkeypatch) as seen:
        store = open_store(url)
        before = len(seen)
        assert store.records(store.ids) == [make_record(clip) for clip in store.ids]
        assert len(seen) == before + 2 * 3, "record and index of each part"
        before = len(seen)
        assert len(store.records(store.ids[:4])) == 4
        assert len(seen) == before, "what was read is kept"


def test_the_metadata_of_many_parts_takes_two_requests(
    s3: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_store(url, "zarr", 20, part_clips=1)
    with read_only(s3, monkeypatch) as seen:
        store = open_store(url)
        before = len(seen)
        assert store.record("clip-0003") == make_record("clip-0003")
        assert len(seen) == before + 2, "record and index of its part"
        assert store.records(store.ids) == [make_record(clip) for clip in store.ids]
        assert len(seen) == before + 2 + 2, "list of the derived files; the one with all records"
        assert [store.record(clip) for clip in store.ids] == store.records(store.ids)
        assert len(seen) == before + 4
    for name in indexes(place_of(url)):
        if name.startswith("records-"):  # as in a store of an earlier version
            (place_of(url) / ".cache" / name).remove()
    with read_only(s3, monkeypatch) as seen:
        store = open_store(url)
        before = len(seen)
        assert store.records(store.ids) == [make_record(clip) for clip in store.ids]
        assert len(seen) == before + 1 + 2 * 20
        assert not [line for line in seen if line.startswith(WRITING)], "readers write nothing"


def test_opening_asks_for_each_file_once(
    s3: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_store(url, "zarr", 6, part_clips=2)
    with read_only(s3, monkeypatch) as seen:
        open_store(url)
        assert len(seen) == 1 + 2 + 3 * 2, "manifest; parts, tombstones; record and index of each"
        assert {line.split()[0] for line in seen} == {"GET"}


@pytest.mark.parametrize("far", [False, True])
def test_a_file_that_ends_too_early(url: str, far: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its clips are asked for together, or the last of them first."""
    if far:
        monkeypatch.setattr("stepcli.cache.storage.object_reader.DENSE_GAPS", 0)
    store = fill_store(url, "hdf5", 4)
    (part,) = store.parts
    path = place_of(url) / "parts" / part / "tokens.h5"
    assert isinstance(path, ObjectPath)
    data = path.read(1 << 20)
    starts = store.snapshot.offsets["tokens"]
    for size in (int(starts.max()) + 1, int(starts.max()), int(starts.min()), 10):
        path.client.put(path.key, data[:size])
        again = open_store(url)
        order = again.storage_order(again.ids)
        with pytest.raises(DamagedStore, match=r"tokens\.h5: ends before byte"):
            again.read([order[0], order[3]])
        with pytest.raises(DamagedStore, match=r"tokens\.h5: ends before byte"):
            again.read([order[3]])


def test_clips_that_lie_far_apart(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepcli.cache.storage.object_reader.DENSE_GAPS", 0)
    store = fill_store(url, "zarr", 6, part_clips=6)
    order = store.storage_order(store.ids)
    for clips in ([order[5], order[0], order[3]], [order[0], order[0], order[5], order[5]]):
        np.testing.assert_array_equal(open_store(url).read(clips), stored(clips))
