"""The plain files of a part: their records, what is wrong with them, copies."""

import os
from pathlib import Path
from typing import Any

import pytest

from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.parts.files import file_record, wrong_file
from stepcli.cache.storage.local import LocalPath
from stepcli.cache.storage.places import place_of


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_what_is_wrong_with_a_file(tmp_path: Path, place: str) -> None:
    folder: Any = tmp_path if place == "disk" else place_of(f"memory://{tmp_path.name}")
    path = folder / "file"
    if place == "disk":
        path.write_bytes(b"abc")
    else:
        path.client.put("file", b"abc")
    known = FileRecord.of_bytes(b"abc")
    assert known == file_record(path)
    assert (known.size, path.size()) == (3, 3)
    assert wrong_file(path, known) == ""
    assert wrong_file(path, FileRecord.of_bytes(b"abd")) == "its bytes do not match their digest"
    assert wrong_file(path, FileRecord.of_bytes(b"ab")) == "expected 2 bytes, found 3"
    assert wrong_file(folder / "other", known) == "missing"
    assert {*folder.names()} == {"file"}
    assert path.download(tmp_path / "made" / "copy") == (0 if place == "disk" else 3)
    assert (tmp_path / "made" / "copy").read_bytes() == b"abc"


def test_links_and_folders_are_no_plain_files(tmp_path: Path) -> None:
    known = FileRecord.of_bytes(b"abc")
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder"):
        assert wrong_file(tmp_path / name, known) == "not a plain file"
    assert {*tmp_path.names()} == {"file", "link"}


def test_a_file_is_copied_where_it_cannot_be_linked(tmp_path: Path) -> None:
    shared = LocalPath("/dev/shm") / f"stepcli-{os.getpid()}"  # another file system
    shared.write_bytes(b"abc")
    try:
        assert shared.download(tmp_path / "copy") == 3
    finally:
        shared.unlink()
    assert (tmp_path / "copy").read_bytes() == b"abc"
