"""A store is made durably, on file systems without hard links too; full disks are clear errors."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import h5py
import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.manifest import create_manifest
from stepcli.cache.schema.spec import StoreSpec
from stepcli.runtime.errors import DamagedStore, StoreNotFound
from stepcli.runtime.files import create_synced


def no_links(*words: object, **named: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    store = fill_store(tmp_path / "store", "zarr", 4)
    assert verify_store(store.path).ok
    assert not create_manifest(store.path, SPEC, "other", "zarr")
    assert open_store(store.path).dataset == "test"
    path = tmp_path / "file"
    assert create_synced(path, b"first")
    assert not create_synced(path, b"second")
    assert path.read_bytes() == b"first"
    assert {entry.name for entry in tmp_path.iterdir()} == {"store", "file"}

    def refuse(*words: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        create_synced(tmp_path / "third", b"third")
    assert not (tmp_path / "third").exists()


def test_a_manifest_that_is_being_created_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without hard links its name is there, empty, before its content is."""
    monkeypatch.setattr(os, "link", no_links)
    other = StoreSpec.model_validate({**dict(SPEC), "frames": 7})
    second: list[bool] = []
    rival = threading.Thread(
        target=lambda: second.append(create_manifest(tmp_path, other, "test", "zarr"))
    )
    blocked = threading.Event()
    flock, replace = fcntl.flock, Path.replace

    def told(fd: int, operation: int) -> None:
        try:
            flock(fd, operation)
        except BlockingIOError:
            blocked.set()
            raise

    def late(path: Path, target: Path) -> Path:
        if target.name == "manifest.json" and threading.current_thread() is not rival:
            assert target.read_bytes() == b""
            rival.start()
            while rival.is_alive() and not blocked.is_set():
                blocked.wait(0.01)
        return replace(path, target)

    monkeypatch.setattr(fcntl, "flock", told)
    monkeypatch.setattr(Path, "replace", late)
    assert create_manifest(tmp_path, SPEC, "test", "zarr")
    rival.join()
    assert second == [False]
    assert open_store(tmp_path).spec == SPEC


def test_an_empty_manifest_without_parts_is_none(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"")
    with pytest.raises(StoreNotFound, match="no feature store at"):
        open_store(tmp_path)
    store = fill_store(tmp_path, "hdf5", 2)
    assert verify_store(tmp_path).ok
    (tmp_path / "manifest.json").write_bytes(b"")
    with pytest.raises(DamagedStore, match="restores it from its parts"):
        create_store(tmp_path, SPEC, dataset="test")
    assert (tmp_path / "manifest.json").read_bytes() == b""
    assert len(store) == 2


def test_the_folders_of_a_new_store_survive_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    create_store(tmp_path / "a" / "b", SPEC, dataset="test")
    assert synced[:2] == [tmp_path, tmp_path / "a"]
    assert tmp_path / "a" / "b" in synced


# The n-th write of any kind is refused, as on a disk that is full; libhdf5 writes by itself.
FULL = """
import resource, signal, sys
from pathlib import Path
from sample_clips import PRODUCER, SPEC, clip_ids, make_record, make_tokens
from stepcli.cache import create_store
from stepcli.runtime.errors import StoreError
from stepcli.cache.schema.spec import StoreSpec
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spec = StoreSpec.model_validate({**dict(SPEC), "dtype": sys.argv[2]})
store = create_store(Path(sys.argv[1]), spec, dataset="test", format="hdf5")
try:
    with store.writer(PRODUCER) as writer:
        for number, clip in enumerate(clip_ids(8)):
            if number == 4:
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
            writer.add(make_record(clip), make_tokens(clip))
except StoreError as error:
    print("refused:", error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(("dtype", "limit"), [("float16", 0), ("int8", 4096)])
def test_a_full_disk_ends_no_process(tmp_path: Path, dtype: str, limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "store", dtype, str(limit)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "refused: cannot write to" in done.stdout
    assert "File too large; what was committed before is safe" in done.stdout
    assert verify_store(tmp_path / "store").ok
    assert not list((tmp_path / "store" / ".staging").iterdir())


def test_libhdf5_opens_no_file_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it may not write it cannot fail to write."""
    real = h5py.File

    def opened(name: Any, mode: str = "r", **named: Any) -> Any:
        assert mode == "r" or not isinstance(name, str | bytes | Path)
        return real(name, mode, **named)

    monkeypatch.setattr(h5py, "File", opened)
    store = create_store(tmp_path, SPEC, dataset="test", format="hdf5")
    with store.writer(PRODUCER) as writer:
        for clip in clip_ids(3):
            writer.add(make_record(clip), make_tokens(clip))
    assert verify_store(tmp_path).ok
