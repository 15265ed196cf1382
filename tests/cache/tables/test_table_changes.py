"""Tables are changed, not replaced: what two processes change at once is all there."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from change_rounds import WITHOUT_LOCKS, run_rounds
from sample_clips import clip_ids, fill_store
from store_commands import run

from stepcli.cache import open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.clips import ClassRow, ClipRow
from stepcli.cache.storage import claims, lock
from stepcli.cache.storage import writer_identity as owner
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.storage.places import place_of
from stepcli.cache.tables import changes as tables
from stepcli.cache.tables import table_versions
from stepcli.runtime.errors import DamagedStore, StoreError


def relabelled(rows: list[ClipRow], clip: str, label: str) -> list[ClipRow]:
    return [replace(row, label=label) if row.id == clip else row for row in rows]


@pytest.mark.parametrize("kind", ["disk", "without locks", "S3"])
def test_two_processes_change_a_table_at_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make fault-test` makes more rounds."""
    if kind == "without locks":
        monkeypatch.setenv(WITHOUT_LOCKS, "1")
    place = request.getfixturevalue("url") if kind == "S3" else str(tmp_path / "store")
    run_rounds(place, tmp_path, 1)


def test_a_change_that_another_overtook_is_made_again(url: str) -> None:
    store = fill_store(url, "zarr", 3)
    calls = []

    def change(rows: list[ClipRow]) -> list[ClipRow]:
        calls.append(len(rows))
        if len(calls) < 3:  # between its reading and its writing
            tables.change_table(
                place_of(url),
                tables.CLIP_TABLE,
                lambda rows: relabelled(rows, "clip-0001", f"theirs {len(calls)}"),
            )
        return relabelled(rows, "clip-0000", "mine")

    store.change_clips(change)
    assert calls == [3, 3, 3]
    assert [row.label for row in store.clips()] == ["mine", "theirs 2", "label 2"]
    assert verify_store(url).ok
    assert len(tables.accepted_digests(place_of(url))[tables.CLIPS]) == 1


def test_rows_read_before_another_change_are_not_written_back(tmp_path: Path) -> None:
    mine, theirs = fill_store(tmp_path, "zarr", 3), open_store(tmp_path)
    mine.replace_classes([ClassRow("a", 0)])
    rows, classes = mine.clips(), mine.classes()
    theirs.change_clips(lambda rows: relabelled(rows, "clip-0001", "theirs"))
    theirs.replace_classes([ClassRow("b", 0)])
    with pytest.raises(StoreError, match=r"clips\.parquet was changed by another process since"):
        mine.replace_clips(relabelled(rows, "clip-0000", "mine"))
    with pytest.raises(StoreError, match=r"classes\.csv was changed by another process since"):
        mine.replace_classes(classes)
    mine.change_clips(lambda rows: relabelled(rows, "clip-0000", "mine"))
    assert [row.label for row in theirs.clips()] == ["mine", "theirs", "label 2"]
    mine.replace_clips(mine.clips())
    mine.replace_clips([])  # after a change of its own


def test_a_table_edited_in_place_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 3)
    path = tmp_path / tables.CLIPS
    seen = path.look(1 << 20)
    path.write_bytes(path.read_bytes())
    assert not path.swap(b"stale", seen)
    assert len(store.clips()) == 3


def test_a_change_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 3)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    store.change_clips(lambda rows: rows)
    store.add_classes([])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_lock_ends_with_the_change_though_a_forked_process_lives_on(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    with lock.exclusive(tmp_path):
        child = os.fork()
        if not child:
            os.close(theirs)
            os.read(ours, 1)  # until the parent is done
            os._exit(0)
    with lock.exclusive(tmp_path):
        (tmp_path / "reached").touch()
    os.close(theirs)
    os.waitpid(child, 0)
    os.close(ours)
    assert (tmp_path / "reached").exists()


def test_a_lock_that_is_held_too_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.05)
    message = r"\.tables\.lock: another process has been changing the tables for"
    with (
        lock.exclusive(tmp_path),
        pytest.raises(StoreError, match=message),
        lock.exclusive(tmp_path),
    ):
        pass


def test_a_lock_whose_file_was_replaced_is_taken_anew(tmp_path: Path) -> None:
    """As when somebody puts a store's folder back from a backup."""
    entered = threading.Event()

    def wait() -> None:
        with lock.exclusive(tmp_path):
            entered.set()

    with lock.exclusive(tmp_path):
        (tmp_path / lock.LOCK).rename(tmp_path / "old")
        waiting = threading.Thread(target=wait)
        fresh = os.open(tmp_path / lock.LOCK, os.O_RDWR | os.O_CREAT)
        fcntl.flock(fresh, fcntl.LOCK_EX)
        waiting.start()
    assert not entered.wait(0.1), "it holds a file that is the lock no more"
    os.close(fresh)
    waiting.join(10)
    assert entered.is_set()


@pytest.fixture
def lockless(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Lustre answers where it is mounted without locks; only root could mount one."""

    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("lockless")
def test_claims_stand_in_where_a_file_system_has_no_locks(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 8)

    def change(clip: str) -> None:
        for label in ("a", "b", "c", "d"):
            store.change_clips(partial(relabelled, clip=clip, label=label))

    threads = [threading.Thread(target=change, args=(clip,)) for clip in clip_ids(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [row.label for row in store.clips()][:4] == ["d"] * 4
    assert verify_store(tmp_path).ok
    assert len(list((tmp_path / claims.FOLDER).iterdir())) == 1


def dead_owner() -> str:
    """The name of a process of this machine that has gone."""
    code = "from stepcli.cache.storage.writer_identity import new_owner; print(new_owner().name)"
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


def test_the_claim_of_a_dead_process_is_taken_by_one_only(tmp_path: Path) -> None:
    folder = tmp_path / claims.FOLDER
    folder.mkdir()
    (folder / f"{7:012d}").create(dead_owner().encode())
    inside, most, lock_of_most = 0, 0, threading.Lock()

    def take() -> None:
        nonlocal inside, most
        for _ in range(5):
            with claims.claimed(tmp_path):
                with lock_of_most:
                    inside += 1
                    most = max(most, inside)
                (tmp_path / "work").write_bytes(b"some")
                with lock_of_most:
                    inside -= 1

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 1
    (last,) = folder.iterdir()
    assert last.read_bytes() == claims.RELEASED
    assert int(last.name) >= 7 + 30


@pytest.mark.parametrize("whose", ["alive", "elsewhere"])
def test_the_claim_of_a_process_that_may_live_stays(
    whose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old it is: nobody compares clocks."""
    monkeypatch.setattr(claims, "WAIT_SECONDS", 0.1)
    me = owner.new_owner()
    holder = me if whose == "alive" else replace(me, host="another-host")
    (tmp_path / claims.FOLDER).mkdir()
    path = tmp_path / claims.FOLDER / f"{3:012d}"
    path.write_text(holder.name)
    os.utime(path, (0, 0))
    with (
        pytest.raises(
            StoreError,
            match=f"{3:012d}.*its owner {me.host if whose == 'alive' else 'another-host'}~",
        ),
        claims.claimed(tmp_path),
    ):
        pass
    assert path.read_text() == holder.name
    path.unlink()  # as the message says
    with claims.claimed(tmp_path):
        pass


def test_a_taker_with_an_old_list_does_not_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number after the one it saw is free again, since others have continued and removed it."""
    monkeypatch.setattr(claims, "WAIT_SECONDS", 0.1)
    folder = tmp_path / claims.FOLDER
    folder.mkdir()
    (folder / f"{9:012d}").write_text(owner.new_owner().name)
    listed = claims._numbers
    answers = iter([[4]])
    monkeypatch.setattr(claims, "_numbers", lambda root: next(answers, None) or listed(root))
    monkeypatch.setattr(claims, "_is_free", lambda claim: claim.name == f"{4:012d}")
    with pytest.raises(StoreError, match=f"{9:012d}"), claims.claimed(tmp_path):
        pass
    assert [path.name for path in folder.iterdir()] == [f"{9:012d}"]


@pytest.mark.parametrize("kind", ["disk", "S3"])
def test_tables_that_are_gone_come_back_from_their_versions(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue("url") if kind == "S3" else str(tmp_path / "store")
    store = fill_store(place, "zarr", 4)
    store.replace_classes([ClassRow("label 0", 0)])
    store.change_clips(lambda rows: relabelled(rows, "clip-0000", "mine"))
    rows, root = store.clips(), place_of(place)
    for lost in ((tables.CLIPS, tables.DIGESTS), (tables.CLIPS, tables.CLASSES, tables.DIGESTS)):
        for name in lost:
            (root / name).remove()
        for action in (open_store(place).clips, lambda: store.add_clips(rows)):
            with pytest.raises(
                DamagedStore, match=r"clips\.parquet: this table is missing; .*repair"
            ):
                action()
        found = {problem.place: problem.problem for problem in verify_store(place).problems}
        assert found == dict.fromkeys(lost, "missing")
        assert run("repair", "--store", place, "--dry-run")["restored"].keys() == set(lost)
        run("repair", "--store", place)
        assert verify_store(place).ok
        assert store.clips() == rows
        assert [row.name for row in store.classes()] == ["label 0"]


def test_tables_json_alone_is_gone(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 2)
    (tmp_path / tables.DIGESTS).unlink()
    (problem,) = verify_store(tmp_path).problems
    assert (problem.place, problem.problem) == (tables.DIGESTS, "missing")
    run("repair", "--store", tmp_path)
    assert verify_store(tmp_path).ok
    assert len(store.clips()) == 2


def test_a_table_without_versions_is_made_by_the_next_extraction(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 2)
    rows = store.clips()
    for name in table_versions.version_names(tmp_path):
        (tmp_path / table_versions.FOLDER / name).unlink()
    (tmp_path / tables.CLIPS).unlink()
    with pytest.raises(DamagedStore, match="is missing; put it back from a backup, or run"):
        store.clips()
    store.add_clips(rows)
    assert store.clips() == rows
    assert verify_store(tmp_path).ok


def test_of_versions_written_at_once_the_accepted_one_is_restored(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 2)
    rows = store.clips()
    older = table_versions.newest_intact(tmp_path, tables.CLIPS)
    assert older is not None
    store.change_clips(lambda rows: relabelled(rows, "clip-0000", "new"))
    newest = table_versions.version_names(tmp_path, tables.CLIPS)[-1]
    path = tmp_path / table_versions.FOLDER
    (path / newest).rename(path / newest.replace("000002", "000000"))  # numbered the wrong way
    (tmp_path / tables.CLIPS).write_bytes(b"junk")
    run("repair", "--store", tmp_path)
    assert store.clips() == relabelled(rows, "clip-0000", "new")


@pytest.mark.parametrize("what", ["junk", "link"])
@pytest.mark.parametrize("kind", ["disk", "S3"])
def test_what_repair_replaces_is_kept(
    what: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It may be the user's own edit, gone wrong."""
    place = request.getfixturevalue("url") if kind == "S3" else str(tmp_path / "store")
    store = fill_store(place, "zarr", 2)
    rows, path = store.clips(), store.path / tables.CLIPS
    (tmp_path / "elsewhere").write_bytes(b"my edit")
    if isinstance(path, ObjectPath):
        path.client.put(path.key, b"my edit")
    elif what == "junk":
        path.write_bytes(b"my edit")
    else:
        path.unlink()
        path.symlink_to(tmp_path / "elsewhere")
    run("repair", "--store", place)
    assert store.clips() == rows
    assert verify_store(place).ok
    assert (tmp_path / "elsewhere").read_bytes() == b"my edit"
    (kept,) = (store.path / ".damaged").child_names()
    kept_at = store.path / ".damaged" / kept
    content = kept_at.read(99) if isinstance(kept_at, ObjectPath) else kept_at.read_bytes()
    assert content == b"my edit"
