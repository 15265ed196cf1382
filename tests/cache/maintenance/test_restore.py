"""Damage outside of the parts: made again where something else tells what it was."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens
from store_commands import files_of, run

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.tombstones import bury
from stepcli.cache.schema.clips import ClassRow, ClipRow, Failure
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import DamagedStore, StoreError, StoreNotFound

OLD_PART = "000000-" + 32 * "0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With a file of every kind."""
    store = fill_store(tmp_path / "store", "zarr", 6)
    store.replace_classes([ClassRow("label 0", 0, prompt="a prompt"), ClassRow("label 1", 1)])
    with store.writer(PRODUCER) as writer:
        for number in range(3):
            writer.quarantine(Failure(f"bad-{number}", "x.webm", "VideoError", "no frames"))
    bury(store.path, OLD_PART, "damaged", [])
    assert verify_store(store.path).ok
    return store


def flip(path: Path, place: int = 40) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def the_only(store: Store, pattern: str) -> Path:
    (path,) = store.path.glob(pattern)
    return path


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_text("{}")])
def test_the_manifest_comes_back_from_the_parts(
    store: Store, damage: Callable[[Path], None]
) -> None:
    whole = files_of(store.path)
    damage(store.path / "manifest.json")
    with pytest.raises(StoreError, match="stepcli store repair"):
        open_store(store.path)
    before = files_of(store.path)
    plan = run("repair", "--store", store.path, "--dry-run")
    assert files_of(store.path) == before
    done = run("repair", "--store", store.path)
    assert done["restored"].keys() == plan["restored"].keys() == {"manifest.json"}
    after = files_of(store.path)
    assert {path: data for path, data in after.items() if ".damaged/" not in path} == whole


def test_a_manifest_that_nothing_else_tells(tmp_path: Path) -> None:
    create_store(tmp_path / "empty", SPEC, dataset="test")
    flip(tmp_path / "empty" / "manifest.json")
    with pytest.raises(DamagedStore, match="no part has a whole copy of it; put it back from a"):
        run("repair", "--store", tmp_path / "empty")
    with pytest.raises(StoreNotFound):
        run("repair", "--store", tmp_path / "nowhere")
    one = fill_store(tmp_path / "one", "zarr", 1)
    other_spec = StoreSpec.model_validate({**dict(SPEC), "frames": 4})
    other = fill_store(tmp_path / "other", "zarr", 1, spec=other_spec)
    (part,) = other.parts
    (other.path / "parts" / part).rename(one.path / "parts" / part)
    (one.path / "manifest.json").unlink()
    with pytest.raises(DamagedStore, match="its parts are of several stores"):
        run("repair", "--store", one.path)


@pytest.mark.parametrize("damage", [lambda path: flip(path, 30), Path.unlink])
def test_the_clips_table_comes_back_as_the_user_left_it(
    store: Store, damage: Callable[[Path], None]
) -> None:
    mine = [ClipRow(row.id, f"my {row.label}", "val") for row in store.clips()]
    store.replace_clips(mine)
    damage(store.path / "clips.parquet")
    assert not verify_store(store.path).ok
    assert run("repair", "--store", store.path)["restored"].keys() == {"clips.parquet"}
    assert store.clips() == mine
    assert verify_store(store.path).ok


def test_a_table_that_reads_may_be_an_edit_and_is_left_with_advice(store: Store) -> None:
    path = store.path / "classes.csv"
    path.write_text(path.read_text().replace("a prompt", "my prompt"))
    done = run("repair", "--store", store.path, fails=DamagedStore)
    (left,) = done["left"]
    assert "to keep it as it is: stepcli store labels --classes" in left["problem"]
    back = left["problem"].rpartition("--classes ")[2]
    run("labels", "--store", store.path, "--classes", back)
    assert store.classes()[0].prompt == "a prompt"
    assert verify_store(store.path).ok


def test_a_table_without_a_version_is_left_to_the_extraction(store: Store) -> None:
    flip(store.path / "clips.parquet", 30)
    for version in store.path.glob("versions/clips-*"):
        version.unlink()
    done = run("repair", "--store", store.path, fails=DamagedStore)
    assert "delete it and run the same stepcli extract" in done["left"][0]["problem"]
    (store.path / "clips.parquet").unlink()
    store.add_clips(ClipRow(clip, "label") for clip in clip_ids(6))
    assert verify_store(store.path).ok


def test_the_tables_digests(store: Store) -> None:
    clips = store.clips()
    flip(store.path / "tables.json")
    assert run("repair", "--store", store.path)["restored"].keys() == {"tables.json"}
    assert verify_store(store.path).ok
    assert store.clips() == clips
    flip(store.path / "tables.json")
    flip(store.path / "clips.parquet", 30)
    repaired = run("repair", "--store", store.path)["restored"]
    assert repaired.keys() == {"tables.json", "clips.parquet"}
    assert verify_store(store.path).ok
    assert store.clips() == clips


def test_tombstones_versions_and_failures(store: Store) -> None:
    flip(the_only(store, "tombstones/*.json"))
    flip(the_only(store, "versions/classes-*.csv"))
    flip(the_only(store, "failures/*.jsonl"), 4)  # in the first of three lines
    assert len(verify_store(store.path).problems) == 3
    done = run("repair", "--store", store.path)
    assert len(done["restored"]) == 3
    assert verify_store(store.path).ok
    assert the_only(store, "tombstones/*.json").name == f"{OLD_PART}.json"
    assert sorted(store.quarantined()) == ["bad-1", "bad-2"]


def test_a_live_writers_failures_are_not_touched(store: Store) -> None:
    with store.writer(PRODUCER) as writer:
        writer.add(make_record("new"), make_tokens("new"))  # it has a staging folder now
        writer.quarantine(Failure("worse", "x.webm", "VideoError", "no frames"))
        path = max(store.path.glob("failures/*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        flip(path, 4)
        done = run("repair", "--store", store.path, fails=DamagedStore)
        assert [problem["place"] for problem in done["left"]] == [f"failures/{path.name}"]


def test_only_the_last_versions_are_kept(store: Store) -> None:
    for number in range(9):
        store.replace_clips([ClipRow("clip-0000", f"label {number}")])
        store.replace_clips([ClipRow("clip-0000", f"label {number}")])  # the same: no new version
    names = sorted(path.name for path in store.path.glob("versions/clips-*"))
    assert [name.split("-")[1] for name in names] == ["000007", "000008", "000009", "000010"]
    run("labels", "--store", store.path, "--from", store.path / "versions" / names[0])
    assert store.clips()[0].label == "label 5"
