"""Maintenance that is interrupted closes the files of the store at once, and its writer too."""

import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from held_generators import Held
from sample_clips import fill_store

from stepcli.cache import open_store
from stepcli.cache.maintenance import compact, convert, repair, verify
from stepcli.cache.parts import scan
from stepcli.cache.parts.files import file_record
from stepcli.cache.parts.open_part import OpenPart
from stepcli.cache.schema.manifest import Format
from stepcli.cache.storage.local import LocalPath

linux = pytest.mark.skipif(sys.platform != "linux", reason="open files are listed in /proc")


def interrupted(*_: object) -> Any:
    raise KeyboardInterrupt


def open_below(folder: Path) -> list[str]:
    """Files below a folder that this process has open."""
    found = []
    for number in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(number.readlink()))
    return [path for path in found if path.startswith(f"{folder}/")]


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Generator[Any]]:
    """Generators that own files: held here, so that only closing them can end them."""
    held = Held(monkeypatch)
    for owner, name in (
        (convert, "_copy"),
        (convert, "intact_clips"),
        (compact, "intact_clips"),
        (repair, "part_clips"),
        (verify, "part_clips"),
        (scan, "part_clips"),
        (LocalPath, "blocks"),
    ):
        held.of(owner, name)
    return held


def require_closed(work: Callable[[], object], folder: Path) -> None:
    """No file is left open, also while the generators are kept."""
    with pytest.raises(KeyboardInterrupt):
        work()
    assert not open_below(folder)


@linux
@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_an_interrupted_conversion_keeps_what_it_has_copied(tmp_path: Path, form: Format) -> None:
    fill_store(tmp_path / "a", form, 10)
    require_closed(
        lambda: convert.convert_store(tmp_path / "a", tmp_path / "b", on_clip=interrupted), tmp_path
    )
    assert len(open_store(tmp_path / "b")) == 1


@linux
@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_an_interrupted_compaction_closes_its_files(tmp_path: Path, form: Format) -> None:
    fill_store(tmp_path, form, 10)
    require_closed(lambda: compact.compact_store(tmp_path, on_clip=interrupted), tmp_path)


@linux
def test_an_interrupted_repair_closes_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill_store(tmp_path, "zarr", 10)
    (store.path / "parts" / store.parts[0] / "manifest.json").write_bytes(b"damaged")
    monkeypatch.setattr(OpenPart, "add", interrupted)
    require_closed(lambda: repair.repair_store(tmp_path), tmp_path)


@linux
def test_an_interrupted_check_closes_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_store(tmp_path, "zarr", 10)
    intact = property(interrupted, lambda *_: None)
    monkeypatch.setattr(scan.StoredClip, "intact", intact, raising=False)
    require_closed(lambda: verify.verify_store(tmp_path, workers=1), tmp_path)


@linux
def test_an_interrupted_digest_closes_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(np.arange(100).tobytes())

    class Digest:
        update = interrupted

    monkeypatch.setattr("stepcli.cache.parts.files.hashlib.sha256", Digest)
    require_closed(lambda: file_record(LocalPath(tmp_path / "x")), tmp_path)
