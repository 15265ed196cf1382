"""Whether a file is there, where the system does not say."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stepcli.cache.storage.local import LocalPath
from stepcli.runtime.errors import StorageError
from stepcli.runtime.files import is_present

ASKED: tuple[Callable[[Path], bool], ...] = (is_present, lambda path: LocalPath(path).is_there())


@pytest.mark.parametrize("asked", ASKED)
def test_a_broken_link_is_there_and_a_file_behind_a_file_is_not(
    asked: Callable[[Path], bool], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    found = {name: asked(tmp_path / name) for name in ("file", "link", "absent", "file/behind")}
    assert found == {"file": True, "link": True, "absent": False, "file/behind": False}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_no_answer_is_not_taken_for_absence(
    code: int, asked: Callable[[Path], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, **named: object) -> os.stat_result:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "lstat", refuse)
    with pytest.raises(StorageError, match="cannot read"):
        asked(tmp_path)
