"""Byte ranges of files: by threads, in pieces, cut short, from few open files, after a fork."""

import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_clips import SPEC, fill_store

from stepcli.cache import open_store
from stepcli.cache.storage import file_reader as ranges
from stepcli.cache.storage.file_reader import FilePool, OpenFile, read_pieces
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import DamagedStore, StorageError

CLIP_BYTES = 2 * int(np.prod(SPEC.clip_shape))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Reads of three clips and more go to several threads, in pieces smaller than a clip."""
    store = fill_store(tmp_path, "hdf5", 12, part_clips=5)
    monkeypatch.setattr(ranges, "SHARED_BYTES", 3 * CLIP_BYTES)
    monkeypatch.setattr(ranges, "PIECE_BYTES", 50)
    monkeypatch.setattr(ranges, "_threads", lambda: 3)
    return store


def test_several_threads_read_the_same_bytes(store: Store) -> None:
    one_by_one = np.concatenate([store.read([clip]) for clip in store.ids])
    order = np.random.default_rng(0).integers(0, 12, 40)
    np.testing.assert_array_equal(store.read(order), one_by_one[order])
    np.testing.assert_array_equal(store.read(store.ids), one_by_one)


def test_a_forked_child_gets_threads_of_its_own(store: Store) -> None:
    expected = store.read(store.ids)  # the parent's threads are at work now
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(store.read(store.ids), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_file_cut_short_is_an_error_in_any_thread(store: Store) -> None:
    store.read(store.ids)
    for part in store.parts:
        os.truncate(store.path / "parts" / part / "tokens.h5", 4096 + 2 * CLIP_BYTES)
    with pytest.raises(DamagedStore, match="ends at byte"):
        store.read(store.ids)
    with pytest.raises(DamagedStore, match="ends at byte"):
        open_store(store.path).read(store.ids)


def test_reads_that_are_cut_short_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals and network file systems may give fewer bytes than were asked for."""
    content = os.urandom(50)
    (tmp_path / "file").write_bytes(content)
    file = OpenFile(tmp_path, "file")
    assert file.size == 50
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, into, at: preadv(fd, [into[0][:7]], at))
    for start, end in ((0, 50), (3, 10), (3, 11), (49, 50), (20, 20)):
        target = bytearray(end - start)
        file.read_into(memoryview(target), start)
        assert target == content[start:end]
    file.require(50)
    said = r"file: ends at byte 50, expected at least 51; run stepcli store verify"
    with pytest.raises(DamagedStore, match=said):
        file.require(51)
    with pytest.raises(DamagedStore, match=said):
        file.read_into(memoryview(bytearray(11)), 40)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "folder" / "link").symlink_to("file")
    for path in ("link/file", "folder/link", "folder/file/file"):
        with pytest.raises(DamagedStore, match=f"{path}: a link; expected a plain file"):
            OpenFile(tmp_path, path)
    with pytest.raises(FileNotFoundError) as missing:
        OpenFile(tmp_path, "folder/other")
    assert missing.value.filename == str(tmp_path / "folder" / "other")
    with pytest.raises(StorageError, match="File name too long"):
        OpenFile(tmp_path, "x" * 300)


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize(
    ("limit", "most"), [(40, 10), (16, 8), (100_000, 1024), (resource.RLIM_INFINITY, 64)]
)
def test_few_files_stay_open_the_last_used_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    """A quarter of what the process may open, within bounds: the user's own files come first."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    pool = FilePool()
    if most > 100:  # more than this very process may open
        assert pool._most == most
        return
    (tmp_path / "file").write_bytes(b"x")
    names = [str(number) for number in range(most)]
    for name in (*names, "new"):
        (tmp_path / name).mkdir()
        os.link(tmp_path / "file", tmp_path / name / "file")
    before = open_files()
    first = pool.get(tmp_path, "0", "file")
    for name in names:
        pool.get(tmp_path, name, "file")
    assert open_files() == before + most
    assert pool.get(tmp_path, "0", "file") is first  # and so the last used
    pool.get(tmp_path, "new", "file")
    assert open_files() == before + most
    assert pool.get(tmp_path, "0", "file") is first
    (tmp_path / "1" / "file").unlink()
    with pytest.raises(FileNotFoundError):  # the least recently used was let go
        pool.get(tmp_path, "1", "file")
    del first
    pool.clear()
    assert open_files() == before


def test_a_child_does_not_wait_for_a_lock_that_a_fork_left_behind(store: Store) -> None:
    expected = store.read(store.ids)
    pools = [pool for pool in ranges._POOLS if pool._files]
    locks: list[Any] = [ranges._SHARED.lock, *(pool._lock for pool in pools)]
    for lock in locks:
        lock.acquire()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if np.array_equal(store.read(store.ids), expected) else 1)
    for lock in locks:
        lock.release()
    assert os.waitpid(child, 0)[1] == 0


def test_threads_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in ((1, 1), (3, 3), (4, 4), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert ranges._threads() == threads
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    for count, threads in ((None, 1), (2, 2), (64, 4)):
        monkeypatch.setattr(os, "cpu_count", lambda n=count: n)
        assert ranges._threads() == threads


def test_a_large_read_is_shared_and_a_small_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "SHARED_BYTES", 100)
    monkeypatch.setattr(ranges, "PIECE_BYTES", 30)
    monkeypatch.setattr(ranges, "_threads", lambda: 3)
    content = os.urandom(200)
    (tmp_path / "file").write_bytes(content)
    file = OpenFile(tmp_path, "file")
    lengths: list[int] = []
    read_into = OpenFile.read_into

    def counted(self: OpenFile, target: memoryview, offset: int) -> None:
        lengths.append(len(target))
        read_into(self, target, offset)

    monkeypatch.setattr(OpenFile, "read_into", counted)
    for size, pieces in ((99, [99]), (100, [10, 30, 30, 30])):
        lengths.clear()
        target = bytearray(size)
        read_pieces([(file, 50, 0, size)], memoryview(target))
        assert target == content[50 : 50 + size]
        assert sorted(lengths) == pieces


@pytest.mark.parametrize("size", [0, 29, 50, 89])
def test_an_error_in_one_thread_is_an_error_of_the_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Of three pieces, one per thread, the last, the last two or all are not in the file."""
    monkeypatch.setattr(ranges, "SHARED_BYTES", 90)
    monkeypatch.setattr(ranges, "PIECE_BYTES", 30)
    monkeypatch.setattr(ranges, "_threads", lambda: 3)
    (tmp_path / "file").write_bytes(bytes(size))
    with pytest.raises(DamagedStore, match=f"ends at byte {size}, expected at least"):
        read_pieces([(OpenFile(tmp_path, "file"), 0, 0, 90)], memoryview(bytearray(90)))
