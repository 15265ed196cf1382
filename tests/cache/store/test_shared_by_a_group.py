"""A store that a group of users writes to: modes, groups, and processes that one cannot see."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache import create_store, open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.merge import merge_stores
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.commit import sweep_staging
from stepcli.cache.parts.tombstones import bury
from stepcli.cache.schema.clips import ClassRow, ClipRow, Failure
from stepcli.cache.storage import lock
from stepcli.cache.storage import writer_identity as owners
from stepcli.cache.storage.claims import claimed
from stepcli.cache.storage.disk_cache import DiskCache
from stepcli.cache.tables.texts import write_text


@pytest.fixture(params=[0o002, 0o007])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """What members of a group use, so that all of them may write."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def another_group() -> int:
    """A group that a folder can be given, other than that of new files."""
    others = [group for group in os.getgroups() if group != os.getegid()]
    return 12345 if os.geteuid() == 0 else others[0] if others else os.getegid()


@pytest.mark.parametrize(("umask", "form"), [(0o002, "zarr"), (0o007, "hdf5")], indirect=["umask"])
def test_files_have_the_umask_and_the_folders_group(form: str, tmp_path: Path, umask: int) -> None:
    root = tmp_path / "store"
    root.mkdir()
    os.chown(root, -1, another_group())
    root.chmod(0o2770)
    store = fill_store(root, form, 17, part_clips=1)  # type: ignore[arg-type]
    with store.writer(PRODUCER) as writer:
        writer.add(make_record("a"), make_tokens("a"))
        writer.quarantine(Failure("bad", "x.webm", "VideoError", "no frames"))
        staged = [path for path in root.rglob("*") if ".staging" in path.parts]
        assert staged
        check_modes(staged, umask)
    store.replace_classes([ClassRow("label", 0)])
    store.change_clips(lambda rows: [*rows, ClipRow("a", "new")])
    write_text(root, "clip", {"classes": []}, b"tensors")
    bury(root, "000000-" + 32 * "0", "damaged", [])
    with claimed(root):
        pass
    open_store(root)
    assert any((root / ".cache").iterdir())
    compact_store(root)
    assert (root / lock.LOCK).exists()
    assert verify_store(root).ok
    check_modes(list(root.rglob("*")), umask)


def check_modes(paths: list[Path], umask: int) -> None:
    for path in paths:
        status = path.stat()
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        assert stat.S_IMODE(status.st_mode) & 0o777 == expected, path
        assert status.st_gid == another_group(), path


def test_a_merge_takes_neither_modes_nor_groups_along(tmp_path: Path, umask: int) -> None:
    private = fill_store(tmp_path / "private", "zarr", 2).path
    assert isinstance(private, Path)
    for path in private.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    root = tmp_path / "shared"
    root.mkdir()
    os.chown(root, -1, another_group())
    root.chmod(0o2770)
    create_store(root, SPEC, dataset="test")
    merge_stores(root, [private])
    assert verify_store(root).ok
    check_modes([path for path in root.rglob("*") if path.name != ".staging"], umask)


def test_a_merge_links_what_has_the_right_mode(tmp_path: Path) -> None:
    source = fill_store(tmp_path / "source", "zarr", 2)
    target = create_store(tmp_path / "target", SPEC, dataset="test")
    assert merge_stores(target.path, [source.path]).copied_bytes == 0


def test_a_lock_of_another_user_is_one_all_the_same(tmp_path: Path) -> None:
    """A member of the group whose umask lets nobody else write."""
    (tmp_path / lock.LOCK).touch()
    (tmp_path / lock.LOCK).chmod(0o444)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from stepcli.cache.storage.lock import exclusive\n"
        "os.geteuid() == 0 and os.setuid(65534)\n"
        "with exclusive(Path(sys.argv[1])): print('held')"
    )
    let_pass(tmp_path)
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.check_output(command, text=True) == "held\n"


def test_a_process_that_proc_hides_is_not_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hidepid=2 shows only one's own processes; what kill says of them stays."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = owners.new_owner()
    monkeypatch.setattr(owners, "_PROC", tmp_path / "empty")
    hidden = [replace(mine, pid=pid, start=1) for pid in (os.getpid(), 1)]  # mine, another user's
    now = 4e9  # touched just now, by any clock
    assert [owners.is_dead(owner, now) for owner in hidden] == [False, False]
    assert [owners.is_dead(owner, 0) for owner in hidden] == [True, True], "nobody has touched it"
    assert owners.is_dead(replace(mine, pid=gone.pid), now)
    assert owners.is_dead(replace(mine, pid=9_999_999_999), now)


def test_a_process_that_may_not_be_looked_at_is_not_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hidepid=1 shows the folders of others' processes and refuses what is in them."""

    def refuse(path: Path) -> str:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(owners.Path, "read_text", refuse)
    owner = owners.Owner(owners._host(), owners._boot(), 1, 1, "0" * 32)
    assert not owners.is_dead(owner, 4e9)
    staging = tmp_path / ".staging" / owner.name
    staging.mkdir(parents=True)
    assert sweep_staging(tmp_path) == []
    assert staging.is_dir()


def test_a_cache_that_several_users_share(tmp_path: Path, umask: int) -> None:
    cache = DiskCache(tmp_path / "cache", 100_000)
    cache.put("clip", b"bytes")
    (entry,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert stat.S_IMODE(entry.stat().st_mode) == 0o666 & ~umask
    assert cache.get("clip", 5) == b"bytes"


def test_an_entry_of_the_cache_that_cannot_be_read_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(tmp_path, 100_000)
    cache.put("clip", b"bytes")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert cache.get("clip", 5) is None


def test_reading_needs_no_right_to_write(tmp_path: Path) -> None:
    """As another user, where files are shared with all but may be written by one."""
    root = tmp_path / "shared"
    store = fill_store(root, "zarr", 20, part_clips=1)
    other = tmp_path / "other"
    shutil.copytree(root, other)
    for path in (root, other):
        shutil.rmtree(path / ".cache")
    paths = [root, *root.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = (
        "import os, sys; from stepcli.cache import open_store\n"
        "read = lambda store: (len(store.clips()), store.read(store.ids).sum())\n"
        # The same reads first: modules that they import late may be out of that user's reach.
        "read(open_store(sys.argv[1]))\n"
        "os.geteuid() == 0 and os.setuid(65534)\n"
        "print(*read(open_store(sys.argv[2])))"
    )
    let_pass(tmp_path)
    command = [sys.executable, "-c", code, str(other), str(root)]
    said = subprocess.check_output(command, text=True)
    assert said.split() == ["20", str(store.read(clip_ids(20)).sum())]
    assert not (root / ".cache").exists()
    for path in paths:
        path.chmod(0o755)


def let_pass(folder: Path) -> None:
    """Let other users reach a folder of a test."""
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o755)
