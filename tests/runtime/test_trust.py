"""Which files of code may be executed where a run or a store names them."""

import hashlib
import json
import stat
from pathlib import Path

import pytest
from command_line import call

from stepcli.runtime import trust as trusted
from stepcli.runtime.code_files import read_trusted_code
from stepcli.runtime.errors import StoreError, UsageError


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "state"
    monkeypatch.setenv("STEPCLI_STATE", str(place))
    return place


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text("WIDTH = 8\n")
    return path


def test_a_file_is_trusted_until_it_changes_or_is_removed(file: Path, state: Path) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    spec = f"{file}:Mine"
    with pytest.raises(UsageError, match=f"if you trust it: stepcli trust {file}$"):
        read_trusted_code(spec, "--method")
    assert call("trust", file) == f"trusted: {file} (sha256 {digest})\n"
    assert call("trust", file) == f"trusted: {file} (sha256 {digest})\n"
    assert read_trusted_code(spec, "--method").sha256 == digest
    assert call("trust", "--list") == f"{digest}  {file}\n"
    assert json.loads(call("trust", "--list", "--json")) == [{"sha256": digest, "path": str(file)}]
    kept = state / "trusted-code.jsonl"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    file.write_text("WIDTH = 9\n")
    with pytest.raises(UsageError, match="without your consent"):
        read_trusted_code(spec, "--method")
    other = call("trust", file)
    assert digest not in other
    assert len(trusted.trusted_files()) == 2
    assert f"(sha256 {digest})" in call("trust", "--remove", digest[:12])
    assert call("trust", "--remove", file).startswith(f"no longer trusted: {file}")
    assert call("trust", "--list") == "no file is trusted\n"


def test_a_removed_file_is_found_by_its_path_too(file: Path, state: Path) -> None:
    call("trust", file)
    file.unlink()
    call("trust", "--remove", file)
    assert not trusted.trusted_files()


@pytest.mark.parametrize("given", ["mine.py", "0" * 64, "abc", "/"])
def test_an_unknown_name_removes_nothing(given: str, file: Path, state: Path) -> None:
    call("trust", file)
    assert "is not trusted" in call("trust", "--remove", given, code=2)
    assert len(trusted.trusted_files()) == 1


def test_what_cannot_be_trusted_is_named(tmp_path: Path, state: Path) -> None:
    (tmp_path / "probe.txt").touch()
    assert "give a file, --list or --remove" in call("trust", code=2)
    assert "there is no file" in call("trust", tmp_path / "none.py", code=2)
    assert "no Python file" in call("trust", tmp_path / "probe.txt", code=2)
    assert "there is no file" in call("trust", tmp_path, code=2)


def test_lines_that_are_damaged_are_left_out(file: Path, state: Path) -> None:
    call("trust", file)
    list_of = state / "trusted-code.jsonl"
    list_of.write_text(list_of.read_text() + '[1]\n"x"\n{"sha256": 1}\n\xff\n{"sha2')
    assert len(trusted.trusted_files()) == 1
    call("trust", "--remove", file)
    assert list_of.read_text() == ""


def test_a_list_that_is_a_link_is_refused(file: Path, state: Path, tmp_path: Path) -> None:
    state.mkdir()
    (tmp_path / "theirs").write_text("")
    (state / "trusted-code.jsonl").symlink_to(tmp_path / "theirs")
    with pytest.raises(StoreError):
        trusted.trust(file)
    assert (tmp_path / "theirs").read_text() == ""


def test_the_advice_can_be_pasted(tmp_path: Path, state: Path) -> None:
    place = tmp_path / "a b; c"
    place.mkdir()
    (place / "mine.py").touch()
    with pytest.raises(UsageError, match=f"stepcli trust '{place}/mine.py'"):
        read_trusted_code(f"{place}/mine.py:Mine", "--method")


def test_the_variable_counts_too(file: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setenv("STEPCLI_OWN_CODE", f"{'1' * 64},{digest}")
    assert read_trusted_code(f"{file}:Mine", "--method").sha256 == digest
    assert not state.exists()
