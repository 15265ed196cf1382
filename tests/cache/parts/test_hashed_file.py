"""The digest that a second thread takes while a file is written is the file's, whatever happens."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepcli.cache.parts import hashed_file
from stepcli.cache.parts.file_record import hash_file
from stepcli.cache.parts.hashed_file import HashedFile

CLIP = np.arange(1000, dtype=np.uint8)


@pytest.fixture(params=[1, 1 << 30])
def told_after(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes after which the second thread and the disk are told: at once, and never."""
    for name in ("SHARE_BYTES", "FLUSH_BYTES"):
        monkeypatch.setattr(hashed_file, name, request.param)
    return int(request.param)


@pytest.fixture
def whole_files(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were hashed once more at the end."""
    hashed: list[Path] = []

    def note(path: Path) -> Any:
        hashed.append(path)
        return hash_file(path)

    monkeypatch.setattr(hashed_file, "hash_file", note)
    return hashed


@pytest.mark.parametrize("final_head", [b"head", b"HEAD"])
@pytest.mark.parametrize("torn", [None, 0, 7])
@pytest.mark.parametrize("kept", [20, 19, 3])
def test_the_record_is_the_files(
    tmp_path: Path,
    told_after: int,
    whole_files: list[Path],
    final_head: bytes,
    torn: int | None,
    kept: int,
) -> None:
    file = HashedFile(tmp_path / "file")
    file.write_at(memoryview(b"head"), 0)
    for number in range(20):
        if number == torn:  # an interrupt came before the clip counted
            file.write_at(np.zeros_like(CLIP).data, 4 + number * CLIP.size)
            file.settle(4 + (number + 1) * CLIP.size)
        file.write_at((CLIP + number).data, 4 + number * CLIP.size)
        file.settle(4 + (number + 1) * CLIP.size)
    end = 4 + kept * CLIP.size
    file.write_at(memoryview(final_head), 0)
    file.write_at(memoryview(b"tail"), end)
    record = file.finish(end + 4)
    body = b"".join((CLIP + number).tobytes() for number in range(kept))
    assert (tmp_path / "file").read_bytes() == final_head + body + b"tail"
    assert record == hash_file(tmp_path / "file")
    followed = final_head == b"head" and torn is None and kept == 20
    assert whole_files == ([] if followed else [tmp_path / "file"])


def test_closing_without_finishing_leaves_the_file_as_it_is(
    tmp_path: Path, told_after: int
) -> None:
    file = HashedFile(tmp_path / "file")
    file.write_at(CLIP.data, 0)
    file.settle(CLIP.size)
    file.close()
    file.close()
    assert (tmp_path / "file").read_bytes() == CLIP.tobytes()


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with pytest.raises(FileExistsError):
        HashedFile(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"abc"


def test_a_file_that_another_has_cut_is_recorded_as_it_is(tmp_path: Path, told_after: int) -> None:
    file = HashedFile(tmp_path / "file")
    file.write_at(CLIP.data, 0)
    with (tmp_path / "file").open("r+b") as other:
        other.truncate(10)
    file.settle(CLIP.size)
    record = file.finish(CLIP.size)
    assert record == hash_file(tmp_path / "file")
