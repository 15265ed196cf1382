"""What could not be read is not known to be damaged: verify reports it, repair leaves it."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from failing_proxy import Fault, failing_proxy
from os_faults import IO_ERRORS, unreadable
from sample_clips import SPEC, clip_ids, fill_store
from store_commands import files_of, run

from stepcli.cache import open_store
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.commit import read_part_record
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage import obstore_client
from stepcli.runtime.errors import DamagedStore, StorageError, StoreError
from stepcli.runtime.sealed_json import seal

PLACES = (
    *("part.json", "index.parquet", "manifest.json", "tokens/c.0.0.0.0", "tokens.zarr"),
    *("tables.json", "clips.parquet"),
)


@pytest.mark.parametrize("code", IO_ERRORS, ids=[errno.errorcode[code] for code in IO_ERRORS])
def test_an_error_on_the_way_to_a_file_harms_nothing(tmp_path: Path, code: int) -> None:
    store = fill_store(tmp_path, "zarr", 6, part_clips=3)
    before = files_of(tmp_path)
    part = store.parts[0]
    for place in PLACES if code == errno.EIO else ("part.json", "tokens.zarr"):
        for calls in (("open", "scandir"), ("read", "preadv"), ("stat",)):

            def hit(path: str, place: str = place) -> bool:
                inside = f"/parts/{part}/" in path or place in ("tables.json", "clips.parquet")
                return inside and path.endswith(place)

            with unreadable(hit, code, calls):
                report = verify_store(tmp_path)
                assert len(report.unread) == len(report.problems), (place, calls, report.problems)
                if report.ok:  # not a call that is made of such a file
                    continue
                run("verify", "--store", tmp_path, fails=StorageError)
                done = run("repair", "--store", tmp_path, fails=StorageError)
                assert not done["parts"]
                assert not done["dropped_clips"]
                assert done["left"][0]["unread"]
            assert files_of(tmp_path) == before, (place, calls)
    assert verify_store(tmp_path).ok


def test_an_unreadable_listing_is_no_empty_store(tmp_path: Path) -> None:
    fill_store(tmp_path, "hdf5", 3)
    (tmp_path / "tombstones").mkdir()
    for folder in ("/parts", "/tombstones"):

        def hit(path: str, end: str = folder) -> bool:
            return path.endswith(end)

        with unreadable(hit, errno.EIO, ("scandir", "listdir")):
            for command in (open_store, verify_store, repair_store):
                with pytest.raises(StorageError, match=r"cannot read .*: Input/output error"):
                    command(tmp_path)


def test_a_part_of_a_newer_stepcli_is_not_damaged(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 2)
    path = tmp_path / "parts" / store.parts[0] / "part.json"
    record = read_part_record(tmp_path, store.parts[0]).model_dump(mode="json")
    path.write_bytes(seal({**record, "schema_number": 9, "new_field": 1}))
    before = files_of(tmp_path)
    done = run("repair", "--store", tmp_path, fails=StoreError)
    assert "upgrade stepcli" in done["left"][0]["problem"]
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("status", ["403", "503", "401", "429"])
@pytest.mark.parametrize("place", ["part.json", "index.parquet", "c.0.0.0.0"])
def test_a_server_that_refuses_harms_nothing(
    url: str, status: Fault, place: str, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(obstore_client.RETRIES, "max_retries", 0)
    store = fill_store(url, "zarr", 4, part_clips=2)
    part = store.parts[0]
    requests: list[str] = []

    def fault(request: str) -> Fault:
        return status if f"{part}/" in request and place in request else ""

    with failing_proxy(s3, lambda number: fault(requests[number])) as (endpoint, seen):
        requests = seen
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        # Another URL of the same place: the process keeps its connection by URL.
        other = url.replace("s3://", "s3a://")
        report = verify_store(other)
        assert report.problems
        assert report.problems == report.unread
        plan = repair_store(other)
        assert not plan.parts
        assert [problem.part for problem in plan.left] == [part]
    assert verify_store(url).ok
    assert open_store(url).ids == clip_ids(4)


def foreign_manifest(folder: Path) -> bytes:
    spec = StoreSpec.model_validate({**dict(SPEC), "frames": 4})
    return (fill_store(folder, "zarr", 1, spec=spec).path / "manifest.json").read_bytes()


def test_a_foreign_manifest_gives_way_to_the_parts(tmp_path: Path) -> None:
    store = fill_store(tmp_path / "store", "zarr", 6, part_clips=2)
    tokens = store.read(store.ids)
    mine = files_of(store.path)
    foreign = foreign_manifest(tmp_path / "other")
    (store.path / "manifest.json").write_bytes(foreign)
    (problem,) = verify_store(store.path).problems
    assert problem.place == "manifest.json"
    plan = run("repair", "--store", store.path, "--dry-run")
    done = run("repair", "--store", store.path)
    assert plan["restored"].keys() == done["restored"].keys() == {"manifest.json"}
    assert not plan["parts"]
    assert not done["parts"]
    after = files_of(store.path)
    (aside,) = after.keys() - mine.keys()
    assert aside.startswith(".damaged/manifest.json-")
    assert after.pop(aside) == foreign
    assert after == mine
    assert (open_store(store.path).read(store.ids) == tokens).all()


@pytest.mark.parametrize("format_too", [False, True])
def test_parts_of_several_stores_are_not_touched(tmp_path: Path, format_too: bool) -> None:
    store = fill_store(tmp_path / "store", "zarr", 4, part_clips=2)
    spec = SPEC if format_too else StoreSpec.model_validate({**dict(SPEC), "frames": 4})
    form: Format = "hdf5" if format_too else "zarr"
    other = fill_store(tmp_path / "other", form, 1, spec=spec)
    (part,) = other.parts
    shutil.copytree(other.path / "parts" / part, store.path / "parts" / part)
    before = files_of(store.path)
    (problem,) = verify_store(store.path).problems
    assert problem.part == part
    run("verify", "--store", store.path, fails=DamagedStore)
    with pytest.raises(DamagedStore, match=r"of several stores.*nothing was changed: move those"):
        run("repair", "--store", store.path)
    shutil.copy(other.path / "manifest.json", store.path / "manifest.json")
    with pytest.raises(DamagedStore, match="of several stores"):
        run("repair", "--store", store.path)
    shutil.copytree(store.path / "parts" / part, tmp_path / "moved")
    shutil.rmtree(store.path / "parts" / part)
    run("repair", "--store", store.path)
    after = files_of(store.path)
    assert {path: data for path, data in after.items() if not path.startswith(".damaged")} == {
        path: data for path, data in before.items() if f"/{part}/" not in path
    }


def damage(root: Path, part: str) -> None:
    path = root / "parts" / part / "part.json"
    path.write_bytes(path.read_bytes().replace(b'"clips"', b'"clipz"'))


def test_damaged_parts_are_set_aside_until_delete(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 6, part_clips=2)
    part = store.parts[1]
    damage(tmp_path, part)
    whole = {
        path.partition(f"{part}/")[2]: data
        for path, data in files_of(tmp_path).items()
        if f"parts/{part}/" in path
    }
    done = run("repair", "--store", tmp_path)
    assert list(done["parts"]) == [part]
    aside = {path: data for path, data in files_of(tmp_path).items() if ".damaged" in path}
    assert aside == {f".damaged/{part}/{path}": data for path, data in whole.items()}
    assert done["set_aside_bytes"] == sum(map(len, whole.values()))
    assert verify_store(tmp_path).ok
    # It comes back from a backup, is out of use, and moved aside once more beside the first.
    shutil.copytree(tmp_path / ".damaged" / part, tmp_path / "parts" / part)
    run("repair", "--store", tmp_path)
    assert len(os.listdir(tmp_path / ".damaged")) == 2  # noqa: PTH208
    plan = run("repair", "--store", tmp_path, "--delete", "--dry-run")
    assert plan["deleted_bytes"] == 2 * done["set_aside_bytes"]
    assert run("repair", "--store", tmp_path, "--delete")["deleted_bytes"] == plan["deleted_bytes"]
    assert not (tmp_path / ".damaged").exists()
    assert verify_store(tmp_path).ok


def test_damaged_parts_are_set_aside_in_object_storage(url: str) -> None:
    store = fill_store(url, "zarr", 4, part_clips=2)
    part = store.parts[0]
    root = store.path / "parts" / part
    data = (root / "part.json").read(1 << 20)
    (root / "part.json").client.put((root / "part.json").key, data.replace(b"clips", b"clipz"))
    names = root.names()
    plan = repair_store(url)
    assert list(plan.parts) == [part]
    assert (store.path / ".damaged" / part).names() == names
    assert not root.names()
    assert verify_store(url).ok
    repair_store(url, delete=True)
    assert not (store.path / ".damaged").names()
    assert len(open_store(url)) == 2
