"""verify, repair, readers, merge and convert beside a live compact, merge or writer."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sample_clips import PRODUCER, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import open_store
from stepcli.cache.maintenance import compact as compacting
from stepcli.cache.maintenance import convert as converting
from stepcli.cache.maintenance import merge as merging
from stepcli.cache.maintenance import repair as repairing
from stepcli.cache.maintenance import restore as restoring
from stepcli.cache.maintenance import verify as verifying
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.convert import convert_store
from stepcli.cache.maintenance.merge import merge_stores
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts import commit as folders
from stepcli.cache.parts.commit import list_parts
from stepcli.cache.schema.clips import Failure
from stepcli.cache.schema.manifest import Format
from stepcli.cache.storage import objects
from stepcli.cache.storage.local import LocalPath
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.store.store import Store
from stepcli.cache.tables.failures import FailureLog, read_failures
from stepcli.runtime.errors import DamagedStore


def once(work: Callable[[], object], real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, after `work` the first time: what another process does at that moment."""
    left = [work]

    def call(*words: Any, **named: Any) -> Any:
        if left:
            left.pop()()
        return real(*words, **named)

    return call


def superseded(root: Path, form: Format = "zarr") -> tuple[Store, str, str]:
    """A clip in an old part alone, and in a newer one of another producer, which stays."""
    store = fill_store(root, form, 1)
    (older,) = store.parts
    other = PRODUCER.model_copy(update={"device": "other"})
    with store.writer(other, generation=1) as writer:
        for clip in clip_ids(2):
            writer.add(make_record(clip), make_tokens(clip))
    store.refresh()
    return store, older, next(part for part in store.parts if part != older)


def flip_tokens(root: Path, part: str, form: Format) -> None:
    name = "tokens.h5" if form == "hdf5" else "tokens.zarr/tokens/c.0.0.0.0"
    path = root / "parts" / part / name
    data = bytearray(path.read_bytes())
    start = data.find(make_tokens("clip-0000").astype("<f2").tobytes())
    data[start + 5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_compact_keeps_the_last_good_copy(tmp_path: Path, form: Format) -> None:
    _, older, newer = superseded(tmp_path, form)
    flip_tokens(tmp_path, newer, form)
    with pytest.raises(DamagedStore, match=r"clip-0000.*run stepcli store repair, then this again"):
        compact_store(tmp_path)
    assert older in list_parts(tmp_path)
    repair_store(tmp_path)
    compact_store(tmp_path)
    assert verify_store(tmp_path).ok
    found = open_store(tmp_path)
    assert found.ids == clip_ids(2)
    tokens = make_tokens("clip-0000").astype("float16")
    assert (found.read(["clip-0000"])[0] == tokens).all()


def test_compact_drops_an_older_copy_once_the_newer_was_read(tmp_path: Path) -> None:
    _, older, newer = superseded(tmp_path)
    assert compact_store(tmp_path).removed == [older]
    assert list_parts(tmp_path) == [newer]


def test_a_listing_that_lacks_old_and_new_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As scandir of a large folder may: read in pieces, while a compact runs between them."""
    store = fill_store(tmp_path, "zarr", 8, part_clips=1)
    real = os.scandir
    torn = [True]

    class Listing:
        def __init__(self, found: list[Any]) -> None:
            self._found = found

        def __enter__(self) -> Iterator[Any]:
            return iter(self._found)

        def __exit__(self, *error: object) -> None:
            return None

    def scandir(path: Any) -> Any:
        if str(path).endswith("/parts") and torn:
            torn.pop()
            entries = list(real(path))
            compact_store(tmp_path)  # the new part came too late for this listing
            return Listing([entry for entry in entries if Path(entry.path).exists()] + entries[:2])
        return real(path)

    monkeypatch.setattr(folders.os, "scandir", scandir)
    found = open_store(tmp_path)
    assert found.ids == store.ids
    assert len(found.read(found.ids)) == 8


@pytest.mark.parametrize("moment", ["read_part_record", "wrong_file", "decode_index"])
@pytest.mark.parametrize("check", [verify_store, repair_store])
def test_a_compact_in_the_middle_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, check: Callable[..., Any]
) -> None:
    store = fill_store(tmp_path, "zarr", 8, part_clips=2)
    late = once(lambda: compact_store(tmp_path), getattr(verifying, moment))
    monkeypatch.setattr(verifying, moment, late)
    found = check(tmp_path, workers=1)
    if check is verify_store:
        assert found.problems == []
        assert found.clips == 8
    else:
        assert (found.parts, found.left, found.dropped_clips) == ({}, [], [])
    assert open_store(tmp_path).ids == store.ids
    assert verify_store(tmp_path).ok


def test_a_damaged_part_that_was_compacted_away_is_not_buried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, older, newer = superseded(tmp_path / "store")
    flip_tokens(store.path, older, "zarr")  # superseded, so that compact drops it
    late = once(lambda: compact_store(store.path), repairing.sweep_staging)
    monkeypatch.setattr(repairing, "sweep_staging", late)
    plan = repair_store(store.path)
    assert plan.parts == {}
    assert not (store.path / "tombstones").exists()
    assert list_parts(store.path) == [newer]


@pytest.mark.parametrize("moment", ["read_index", "download"])
def test_merge_of_a_source_that_is_compacted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    source = fill_store(tmp_path / "source", "zarr", 8, part_clips=2)
    target = fill_store(tmp_path / "target", "zarr", 1)
    place = merging if moment == "read_index" else LocalPath
    late = once(lambda: compact_store(source.path), getattr(place, moment))
    monkeypatch.setattr(place, moment, late)
    plan = merge_stores(target.path, [source.path])
    assert set(plan.parts) <= set(list_parts(target.path))
    assert open_store(target.path).ids == clip_ids(8)
    assert verify_store(target.path).ok


def test_two_merges_of_one_source_end_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = fill_store(tmp_path / "source", "zarr", 6, part_clips=2)
    target = fill_store(tmp_path / "target", "zarr", 1)
    late = once(lambda: merge_stores(target.path, [source.path]), merging.publish_part)
    monkeypatch.setattr(merging, "publish_part", late)
    merge_stores(target.path, [source.path])
    assert set(source.parts) < set(list_parts(target.path))
    assert open_store(target.path).ids == clip_ids(6)
    assert verify_store(target.path).ok
    assert not list((target.path / ".staging").iterdir())


def test_two_merges_in_object_storage_end_well(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = fill_store(f"{url}/source", "zarr", 4, part_clips=2)
    target = fill_store(f"{url}/target", "zarr", 1)
    late = once(lambda: merge_stores(target.path, [source.path]), merging.publish_part)
    monkeypatch.setattr(merging, "publish_part", late)
    merge_stores(target.path, [source.path])
    assert open_store(target.path).ids == clip_ids(4)
    assert verify_store(target.path).ok


@pytest.mark.parametrize("moment", ["read_index", "read_part_record", "_write"])
def test_convert_of_a_source_that_is_compacted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    source = fill_store(tmp_path / "source", "zarr", 8, part_clips=2)
    late = once(lambda: compact_store(source.path), getattr(converting, moment))
    monkeypatch.setattr(converting, moment, late)
    convert_store(source.path, tmp_path / "target", form="hdf5")
    target = open_store(tmp_path / "target")
    assert target.ids == clip_ids(8)
    assert target.fingerprint == source.fingerprint


@pytest.mark.parametrize("moment", ["read_part_record", "read_index"])
def test_two_compacts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    store = fill_store(tmp_path, "zarr", 8, part_clips=2)
    late = once(lambda: compact_store(tmp_path), getattr(compacting, moment))
    monkeypatch.setattr(compacting, moment, late)
    compact_store(tmp_path)
    found = open_store(tmp_path)
    assert found.fingerprint == store.fingerprint
    assert verify_store(tmp_path).ok


def test_a_part_that_lacks_a_file_is_no_compact(tmp_path: Path) -> None:
    store = fill_store(tmp_path / "store", "zarr", 4, part_clips=2)
    (store.path / "parts" / store.parts[0] / "index.parquet").unlink()
    for command in (open_store, compact_store):
        with pytest.raises(DamagedStore, match="this file of a committed part is missing"):
            command(store.path)  # type: ignore[operator]


def failure(name: str) -> Failure:
    return Failure(name, "x.webm", "VideoError", "no frames")


@pytest.mark.parametrize("moment", ["create", "move_aside", "intact_lines"])
def test_lines_that_are_written_during_a_repair_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    fill_store(tmp_path, "zarr", 1)
    log = FailureLog(tmp_path, "0" * 32)  # of a writer without a staging folder
    for number in range(3):
        log.append(failure(f"early-{number}"))
    (path,) = (tmp_path / "failures").iterdir()
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)

    place = LocalPath if moment == "create" else restoring
    late = once(lambda: log.append(failure("late")), getattr(place, moment))
    monkeypatch.setattr(place, moment, late)
    repair_store(tmp_path)
    log.append(failure("afterwards"))
    log.close()
    found = set(read_failures(tmp_path))
    assert found == {"early-1", "early-2", "late", "afterwards"}
    assert verify_store(tmp_path).ok


def test_a_failures_line_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_store(tmp_path, "zarr", 1)
    log = FailureLog(tmp_path, "0" * 32)
    real, full = os.write, [False]

    def short(fd: int, data: bytes) -> int:
        if full[0]:
            raise OSError(28, "No space left on device")
        full[0] = len(data) > 9 and trouble[0]
        return real(fd, data[:9])

    trouble = [False]
    monkeypatch.setattr(os, "write", short)
    log.append(failure("first"))  # in pieces of nine bytes
    trouble[0] = True
    with pytest.raises(OSError, match="No space"):
        log.append(failure("second"))
    full[0] = trouble[0] = False
    log.append(failure("third"))
    log.close()
    assert set(read_failures(tmp_path)) == {"first", "third"}
    assert verify_store(tmp_path).ok


def test_verify_beside_compacts_and_writers(tmp_path: Path) -> None:
    """Really at once; the rounds of `make fault-test` are this, longer."""
    store = fill_store(tmp_path, "zarr", 4, part_clips=1)
    done = threading.Event()
    problems: list[object] = []

    def look() -> None:
        while not done.is_set():
            problems.extend(verify_store(tmp_path, workers=1).problems)
            problems.extend(set(clip_ids(4)) - set(open_store(tmp_path).ids))

    looking = threading.Thread(target=look)
    looking.start()
    for number in range(3):
        with store.writer(PRODUCER, part_clips=1) as writer:
            for clip in (f"new-{number}", "again"):
                writer.add(make_record(clip), make_tokens(clip))
        compact_store(tmp_path)
    done.set()
    looking.join()
    assert problems == []
    assert len(open_store(tmp_path)) == 8


def test_a_listing_in_pages_is_not_believed_at_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill_store(url, "zarr", 4, part_clips=1)
    monkeypatch.setattr(objects, "PAGE", 2)
    real = ObjectPath.names

    def names(path: ObjectPath) -> list[str]:
        if path.key == "parts" and pages:
            pages.pop()
            before = real(path)
            compact_store(url)
            return before[:2] + [name for name in real(path) if name in before]
        return real(path)

    pages = [True]
    monkeypatch.setattr(ObjectPath, "names", names)
    found = open_store(url)
    assert found.ids == store.ids
    assert len(found.read(found.ids)) == 4
