"""The contract of `StoragePath`, on disks of several kinds, in memory and on a real server."""

import errno
import fcntl
import os
import tempfile
from pathlib import Path

import pytest
from storage_contract import StorageContract

from stepcli.cache.storage.path import StoragePath
from stepcli.cache.storage.places import place_of
from stepcli.runtime.errors import DamagedStore


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Object storage stages there; other tests' writers are none of ours."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def refused(*words: object, **named: object) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


class TestDisk(StorageContract):
    @pytest.fixture
    def root(self, tmp_path: Path) -> StoragePath:
        root = place_of(tmp_path / "store")
        root.prepare()
        return root

    def test_a_local_path_is_a_path(self, root: StoragePath) -> None:
        """Code that uses `store.path` as a folder still works."""
        assert isinstance(root, Path)
        assert (root / "a").read_text is not None
        (root / "a").write_text("x")
        assert [path.name for path in root.iterdir()] == ["a"]
        assert isinstance((root / "a").parent, StoragePath)
        assert root == Path(str(root))
        assert root.local == root

    @pytest.mark.parametrize("what", ["folder", "inner"])
    def test_links_are_not_followed(self, root: StoragePath, tmp_path: Path, what: str) -> None:
        elsewhere = tmp_path / "elsewhere"
        (elsewhere / "tower").mkdir(parents=True)
        (elsewhere / "tower" / "file").write_bytes(b"secret")
        if what == "folder":
            (Path(str(root)) / "text").symlink_to(elsewhere)
        else:
            (root / "text").make_folder()
            (Path(str(root)) / "text" / "tower").symlink_to(elsewhere / "tower")
        folder = root / "text" if what == "folder" else root / "text" / "tower"
        calls = [
            folder.make_folder,
            folder.names,
            folder.child_names,
            lambda: dict(folder.entries()),
            folder.remove_all,
            lambda: (root / "text" / "tower").read_beneath("file", 9),
        ]
        if what == "inner":
            calls += [folder.size, lambda: (root / "text").open_ranges("tower/file")]
            calls.append(lambda: folder.read(9))
        for call in calls:
            with pytest.raises(DamagedStore):
                call()
        assert (elsewhere / "tower" / "file").read_bytes() == b"secret"


class TestDiskWithoutHardLinksAndLocks(TestDisk):
    @pytest.fixture
    def root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoragePath:
        monkeypatch.setattr(os, "link", refused)
        monkeypatch.setattr(fcntl, "flock", refused)
        root = place_of(tmp_path / "store")
        root.prepare()
        return root


class TestMemory(StorageContract):
    @pytest.fixture
    def root(self, tmp_path: Path) -> StoragePath:
        return place_of(f"memory://{tmp_path}/store")


class TestS3(StorageContract):
    @pytest.fixture
    def root(self, url: str) -> StoragePath:
        return place_of(url)
