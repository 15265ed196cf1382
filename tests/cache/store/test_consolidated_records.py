"""The table of all clips' records is a shortcut: it saves reads and never decides an answer."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_clips import MANY_CLIPS, PRODUCER, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.store import clip_records, take_snapshot
from stepcli.cache.store.derived_files import FOLDER, derived_files
from stepcli.cache.store.snapshot import read_index
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import ClipNotFound

RECORDS = [make_record(clip) for clip in clip_ids(MANY_CLIPS)]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the parts whose index was read, appended as they are."""
    names: list[str] = []

    def counted(root: Any, name: str, manifest: Any) -> pa.Table:
        names.append(name)
        return read_index(root, name, manifest)

    for module in (clip_records, take_snapshot):
        monkeypatch.setattr(module, "read_index", counted)
    return names


def kept(root: Path) -> Path:
    (path,) = derived_files(open_store(root).path, "records")
    return Path(str(path))


def answers_right(store: Store) -> bool:
    return store.records(store.ids) == [make_record(clip) for clip in store.ids]


def test_it_answers_for_all_parts_without_their_indexes(root: Path, reads: list[str]) -> None:
    store = open_store(root)
    assert store.records(clip_ids(MANY_CLIPS)) == RECORDS
    backward = list(reversed(clip_ids(MANY_CLIPS)))
    assert store.records([*backward, "clip-0003"]) == [*RECORDS[::-1], RECORDS[3]]
    assert store.records(np.array([30, 2])) == [RECORDS[30], RECORDS[2]]
    assert reads == []
    with pytest.raises(ClipNotFound, match="'nowhere'"):
        store.records([*backward, "nowhere"])


def test_one_clip_reads_its_part_and_many_one_by_one_read_the_table(
    root: Path, reads: list[str]
) -> None:
    store = open_store(root)
    assert [store.record(clip) for clip in clip_ids(MANY_CLIPS)] == RECORDS
    assert len(reads) == clip_records.ALONE
    assert len(set(reads)) == len(reads), "the two clips of a part take one read"


def test_what_is_kept_of_single_parts_is_bounded(
    root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_records, "ALONE", 1000)
    store = open_store(root)
    assert answers_right(store)
    assert sorted(reads) == sorted(store.parts)
    assert answers_right(store)
    assert len(reads) == len(store.parts)
    of_two = sum(table.nbytes for table in list(store._records._kept.values())[:2])
    monkeypatch.setattr(clip_records, "KEPT_BYTES", of_two)
    store._records.forget()
    assert [store.record(clip) for clip in clip_ids(MANY_CLIPS)] == RECORDS
    assert len(store._records._kept) == 2


def test_a_store_of_an_earlier_version_gets_it_when_all_is_asked_for(
    root: Path, reads: list[str]
) -> None:
    path = kept(root)
    data = path.read_bytes()
    path.unlink()
    store = open_store(root)
    assert store.record("clip-0000") == RECORDS[0]
    assert not path.exists(), "one clip is no reason to write"
    assert store.records(clip_ids(MANY_CLIPS)) == RECORDS
    assert sorted(reads) == sorted(store.parts)
    assert path.read_bytes() == data, (
        "the same parts give the same file, whichever process wrote it"
    )
    reads.clear()
    assert answers_right(open_store(root))
    assert reads == []


def test_a_folder_that_refuses_it_still_answers(root: Path, reads: list[str]) -> None:
    kept(root).unlink()
    (root / FOLDER / "index").write_bytes(b"")  # another file stays
    store = open_store(root)
    shutil.rmtree(root / FOLDER)
    (root / FOLDER).write_bytes(b"in the way")
    store._records._looked = True
    assert answers_right(store)
    assert answers_right(store)
    assert len(reads) == len(store.parts), "kept in memory instead"


def test_newer_parts_are_read_beside_it(root: Path, reads: list[str]) -> None:
    with open_store(root).writer(PRODUCER, generation=1) as writer:
        writer.add(make_record("new"), make_tokens("new"))
        writer.add(make_record("clip-0004"), make_tokens("clip-0004"))
    store = open_store(root)
    reads.clear()
    assert answers_right(store)
    assert reads == [store.parts[-1]]
    path = kept(root)
    with store.writer(PRODUCER, part_clips=1) as writer:
        for number in range(9):
            writer.add(make_record(f"more-{number}"), make_tokens(f"more-{number}"))
    store.refresh()  # enough parts to write both files again
    assert not path.exists()
    reads.clear()
    assert answers_right(open_store(root))
    assert reads == []
    assert pq.read_table(kept(root)).num_rows == MANY_CLIPS + 2 + 9


def test_parts_that_are_gone_leave_it(tmp_path: Path) -> None:
    root, clips = tmp_path / "store", clip_ids(48)
    reader = fill_store(root, "zarr", 48, part_clips=1)
    before = kept(root)
    compact_store(root, part_clips=3)
    records = [make_record(clip) for clip in clips]
    assert reader.records(clips) == records, "opened before, asked after"
    store = open_store(root)
    assert len(store.parts) == 16
    assert answers_right(store)
    assert kept(root) != before
    about = json.loads(pq.read_schema(kept(root)).metadata[b"stepcli"])
    assert [name for name, _ in about["parts"]] == list(store.parts)


def test_a_damaged_one_is_ignored_reported_and_removed(root: Path, reads: list[str]) -> None:
    path = kept(root)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    problems = verify_store(root).problems
    assert [problem.place for problem in problems] == [f"{FOLDER}/{path.name}"]
    repair = shutil.copytree(root, root.parent / "repaired")
    assert repair_store(repair).restored.keys() == {f"{FOLDER}/{path.name}"}
    store = open_store(root)
    reads.clear()
    assert answers_right(store)
    assert sorted(reads) == sorted(store.parts)
    assert verify_store(root).ok, "one that is whole is in its place"


def _rolled(table: pa.Table) -> pa.Table:
    return table.take([*range(1, table.num_rows), 0]).replace_schema_metadata(table.schema.metadata)


def _about(change: Callable[[dict[str, Any]], Any]) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        about = change(json.loads(table.schema.metadata[b"stepcli"]))
        return table.replace_schema_metadata({"stepcli": json.dumps(about)})

    return changed


def _counts(parts: list[list[Any]], *changed: int) -> list[list[Any]]:
    return [[name, count] for (name, _), count in zip(parts, (*changed, *[2] * 18), strict=False)]


@pytest.mark.parametrize(
    "lie",
    [
        _rolled,
        lambda table: table.slice(0, 4),
        lambda table: table.slice(0, 0),
        lambda table: table.replace_schema_metadata(None),
        lambda table: table.drop_columns(["source"]),
        _about(lambda about: {**about, "spec": "0" * 64}),
        _about(lambda about: {**about, "parts": [[1, 2, 3]]}),
        _about(lambda about: {**about, "parts": [["x", "many"]]}),
        _about(lambda about: {**about, "parts": 3}),
        _about(lambda about: []),
        _about(lambda about: {**about, "parts": about["parts"][::-1]}),
        _about(lambda about: {**about, "parts": [about["parts"][0]] * len(about["parts"])}),
        _about(lambda about: {**about, "parts": _counts(about["parts"], 5, -1)}),
        _about(lambda about: {**about, "parts": _counts(about["parts"], 0, 4)}),
        _about(lambda about: {**about, "parts": _counts(about["parts"], 10**30)}),
    ],
)
def test_one_that_lies_changes_no_answer(root: Path, lie: Callable[[pa.Table], pa.Table]) -> None:
    path = kept(root)
    changed = lie(pq.read_table(path))
    path.unlink()
    sink = pa.BufferOutputStream()
    pq.write_table(changed, sink, compression="none")
    data = sink.getvalue().to_pybytes()
    path.with_name(f"records-{hashlib.sha256(data).hexdigest()}.parquet").write_bytes(data)
    store = open_store(root)
    assert store.records(clip_ids(MANY_CLIPS)) == RECORDS
    assert answers_right(store)


def test_columns_say_what_records_say(root: Path) -> None:
    store = open_store(root)
    columns = store.record_columns(store.ids)
    assert (len(columns), columns.ids) == (MANY_CLIPS, store.ids)
    assert columns.sources == [record.source for record in RECORDS]
    assert columns.pts_seconds.tolist() == [list(record.pts_seconds) for record in RECORDS]
    assert columns.distinct_frames.tolist() == [3] * MANY_CLIPS
    assert columns.frame_sizes.tolist() == [[240, 320]] * MANY_CLIPS
    none = store.record_columns([])
    assert (len(none), none.ids, none.sources, none.records()) == (0, [], [], [])
    assert (none.distinct_frames.shape, none.frame_sizes.shape) == ((0,), (0, 2))
    assert none.pts_seconds.shape == (0, 0)
    columns.pts_seconds[0] = -1.0
    assert store.record_columns(store.ids[:1]).pts_seconds.tolist() == [[0.0, 0.25, 0.5]]


def test_processes_that_ask_read_it_themselves(root: Path, reads: list[str]) -> None:
    store = open_store(root)
    assert answers_right(store)
    child = os.fork()
    if child == 0:
        os._exit(0 if answers_right(store) and not reads else 1)
    assert os.waitpid(child, 0)[1] == 0
