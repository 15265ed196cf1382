"""The consolidated index is a shortcut, never the truth."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from sample_clips import MANY_CLIPS, PRODUCER, clip_ids, make_record, make_tokens

from stepcli.cache import open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.store.derived_files import FOLDER, derived_files
from stepcli.runtime.errors import DamagedStore


def assert_right(root: Path, clips: list[str]) -> None:
    store = open_store(root)
    assert store.ids == clips
    expected = np.stack([make_tokens(clip) for clip in clips]).astype(np.float16)
    np.testing.assert_array_equal(store.read(clips), expected)


def test_it_serves_when_the_parts_indexes_cannot(root: Path) -> None:
    assert len(list(derived_files(root, "index"))) == 1
    for index in root.glob("parts/*/index.parquet"):
        index.unlink()
    assert_right(root, clip_ids(MANY_CLIPS))
    assert not verify_store(root).ok


def test_a_damaged_one_is_ignored_reported_and_removed(root: Path) -> None:
    (path,) = derived_files(root, "index")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert_right(root, clip_ids(MANY_CLIPS))
    path.write_bytes(data)
    assert [problem.place for problem in verify_store(root).problems] == [f"{FOLDER}/{path.name}"]
    assert repair_store(root).restored.keys() == {f"{FOLDER}/{path.name}"}
    assert verify_store(root).ok


def test_newer_parts_are_read_beside_it_and_later_copies_win(root: Path) -> None:
    store = open_store(root)
    before = [path.name for path in derived_files(root, "index")]
    with store.writer(PRODUCER) as writer:
        writer.add(make_record("new"), make_tokens("new"))
    assert_right(root, [*clip_ids(MANY_CLIPS), "new"])
    assert [path.name for path in derived_files(root, "index")] == before
    without = shutil.copytree(root, root.parent / "without")
    shutil.rmtree(without / FOLDER)
    assert open_store(without).fingerprint == open_store(root).fingerprint


def test_it_does_not_outlive_a_part(root: Path) -> None:
    part = open_store(root).parts[3]
    lost = {f"clip-{n:04d}" for n in range(MANY_CLIPS)} - {
        clip for clip in clip_ids(MANY_CLIPS) if _part_of(root, clip) != part
    }
    shutil.rmtree(root / "parts" / part)
    assert_right(root, [clip for clip in clip_ids(MANY_CLIPS) if clip not in lost])
    compact_store(root)
    assert_right(root, [clip for clip in clip_ids(MANY_CLIPS) if clip not in lost])


def _part_of(root: Path, clip: str) -> str:
    snapshot = open_store(root).snapshot
    return snapshot.parts[snapshot.part_of[snapshot.positions[clip]]]


def test_a_file_in_its_way_is_named(root: Path) -> None:
    shutil.rmtree(root / FOLDER)
    (root / FOLDER).write_text("in the way")
    with pytest.raises(DamagedStore, match="a file where a folder of the store belongs"):
        open_store(root)
