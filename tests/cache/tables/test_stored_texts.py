"""text/ is a part of the store: two files that are one, checked, carried along, never a link."""

import errno
import json
import os
import shutil
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from sample_clips import fill_store
from store_commands import run

from stepcli.cache.maintenance.convert import convert_store
from stepcli.cache.maintenance.merge import merge_stores
from stepcli.cache.maintenance.repair import repair_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.storage.places import place_of
from stepcli.cache.tables import texts
from stepcli.cache.tables.texts import (
    read_both,
    read_tensors,
    read_text,
    text_folders,
    write_text,
)
from stepcli.runtime import files as runtime_files
from stepcli.runtime.errors import DamagedStore, StorageError

FACTS = {"tower": "clip", "classes": ["open"], "units": [], "labels": ["öffnen"]}


@pytest.fixture(params=["disk", "S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> StoragePath:
    path = request.getfixturevalue("url") if request.param == "S3" else tmp_path / "store"
    return fill_store(path, "zarr", 2).path


def read(root: StoragePath, tower: str = "clip") -> tuple[dict[str, object], bytes]:
    text = read_text(root, tower)
    return text.facts, read_tensors(root / "text" / tower, text.file, text.sha256)


def write_old(root: Path, tensors: bytes = b"old tensors") -> Path:
    """As stepcli wrote texts before they had a digest of their own."""
    folder = root / "text" / "clip"
    folder.mkdir(parents=True)
    (folder / "text.safetensors").write_bytes(tensors)
    facts = {**FACTS, "sha256": sha256(tensors).hexdigest()}
    (folder / "text.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False))
    return folder


def test_texts_are_replaced_as_one(place: StoragePath) -> None:
    for number in range(4):
        facts = {**FACTS, "classes": [f"class {number}"]}
        write_text(place, "clip", facts, b"tensors %d" % number)
        assert read(place) == (facts, b"tensors %d" % number)
        assert verify_store(place).problems == []
    files = [name for name in names_in(place) if name.endswith(".safetensors")]
    assert len(files) == 2, "the present one, and the one before it for those who read it now"


def names_in(place: StoragePath) -> list[str]:
    if isinstance(place, Path):
        return [path.name for path in (place / "text" / "clip").iterdir()]
    return (place / "text" / "clip").names()


def test_a_reader_never_sees_a_mixture(tmp_path: Path) -> None:
    root = fill_store(tmp_path, "zarr", 1).path
    write_text(root, "clip", {**FACTS, "classes": ["0"]}, b"tensors 0")
    wrong, done = [], threading.Event()

    def look() -> None:
        while not done.is_set():
            text, data = read_both(root, "clip")
            if data != f"tensors {text.facts['classes'][0]}".encode():
                wrong.append(data)
            wrong.extend(texts.wrong_texts(root))

    def write(first: int) -> None:
        for number in range(first, first + 8):
            write_text(root, "clip", {**FACTS, "classes": [str(number)]}, b"tensors %d" % number)

    reader = threading.Thread(target=look)
    writers = [threading.Thread(target=write, args=(first,)) for first in (10, 20)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not wrong
    assert verify_store(root).ok


@pytest.mark.parametrize("file", ["text.json", "tensors"])
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_damaged_texts_are_found_and_set_aside(place: StoragePath, file: str, damage: str) -> None:
    write_text(place, "clip", FACTS, b"tensors")
    write_text(place, "other", FACTS, b"others")
    path = (
        place / "text" / "clip" / (file if file == "text.json" else read_text(place, "clip").file)
    )
    if damage == "remove":
        path.remove()
    else:
        write(path, flipped(content(path)))
    if (file, damage) == ("text.json", "remove"):
        assert text_folders(place) == ["other"], "texts that were begun, or half removed, are none"
        assert verify_store(place).ok
        return
    (problem,) = verify_store(place).problems
    assert problem.place == str(path).removeprefix(f"{place}/")
    with pytest.raises(DamagedStore):
        read(place)
    planned = run("repair", "--store", place, "--dry-run")["restored"]
    assert not verify_store(place).ok
    assert (
        run("repair", "--store", place)["restored"]
        == planned
        == {problem.place: planned[problem.place]}
    )
    assert "extract --text" in planned[problem.place]
    assert verify_store(place).ok
    assert text_folders(place) == ["other"]
    assert read(place, "other")[1] == b"others"
    write_text(place, "clip", FACTS, b"tensors")
    assert verify_store(place).ok


def content(path: StoragePath) -> bytes:
    return path.read_bytes() if isinstance(path, Path) else path.read(1 << 20)


def write(path: StoragePath, data: bytes) -> None:
    if isinstance(path, Path):
        path.write_bytes(data)
    else:
        path.client.put(path.key, data)


def flipped(data: bytes) -> bytes:
    return data[:5] + bytes([data[5] ^ 1]) + data[6:]


def test_every_flip_in_a_description_is_noticed(tmp_path: Path) -> None:
    root = fill_store(tmp_path, "zarr", 1).path
    write_text(root, "clip", FACTS, b"tensors")
    path = tmp_path / "text" / "clip" / "text.json"
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        assert list(texts.wrong_texts(root)), place


@pytest.mark.parametrize("what", ["text", "tower", "text.json", "tensors"])
def test_links_are_refused(tmp_path: Path, what: str) -> None:
    root = fill_store(tmp_path / "store", "zarr", 1).path
    assert isinstance(root, Path)
    folder = write_text(root, "clip", FACTS, b"tensors")
    assert isinstance(folder, Path)
    tensors = folder / read_text(root, "clip").file
    path = {"text": root / "text", "tower": folder, "text.json": folder / "text.json"}.get(
        what, tensors
    )
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedStore):
        assert [read(root, tower) for tower in text_folders(root)] == []
    (problem,) = verify_store(root).problems
    assert problem.place.startswith("text")
    if what in ("text", "tower"):
        with pytest.raises(DamagedStore, match=r"a link; .*; remove it; extract --text"):
            run("repair", "--store", root)
    else:
        run("repair", "--store", root)
        assert verify_store(root).ok
    assert (tmp_path / "elsewhere").exists()


def test_texts_of_older_stores(tmp_path: Path) -> None:
    root = fill_store(tmp_path, "zarr", 1).path
    folder = write_old(tmp_path)
    assert read(root) == (FACTS | {"sha256": sha256(b"old tensors").hexdigest()}, b"old tensors")
    assert verify_store(root).ok
    (folder / "text.safetensors").write_bytes(b"bad tensors")
    (problem,) = verify_store(root).problems
    assert problem.place == "text/clip/text.safetensors"
    shutil.rmtree(folder)
    write_old(tmp_path)
    for number in range(2):
        write_text(root, "clip", FACTS, b"new %d" % number)
    assert not (folder / "text.safetensors").exists()
    assert verify_store(root).ok


def test_merge_and_convert_carry_texts(tmp_path: Path, url: str) -> None:
    source = fill_store(tmp_path / "source", "zarr", 2).path
    write_text(source, "clip", FACTS, b"tensors")
    assert isinstance(source, Path)
    shutil.move(write_old(tmp_path / "old"), source / "text" / "older")
    for target in (tmp_path / "converted", url):
        convert_store(source, target, form="hdf5")
        assert read(place_of(target)) == (FACTS, b"tensors")
        assert read(place_of(target), "older")[1] == b"old tensors"
        assert verify_store(target).ok
    target = fill_store(tmp_path / "target", "zarr", 1).path
    write_text(target, "clip", {**FACTS, "classes": ["mine"]}, b"my tensors")
    plan = merge_stores(target, [source])
    assert (plan.texts_added, plan.texts_differing) == (["older"], ["clip"])
    assert read(target)[1] == b"my tensors"
    again = merge_stores(target, [source])
    assert (again.texts_added, again.texts_differing) == ([], ["clip"])


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.EMFILE])
def test_texts_that_cannot_be_read_are_left(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill_store(tmp_path, "zarr", 1).path
    write_text(root, "clip", FACTS, b"tensors")

    def fail(folder: Path, name: str) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(runtime_files, "open_beneath", fail)
    assert not texts.is_damaged(root, "clip")
    with pytest.raises(StorageError, match=r"cannot read .*text/clip/text.json"):
        list(texts.wrong_texts(root))
    (problem,) = verify_store(root).problems
    assert problem.unread
    (left,) = repair_store(root).left
    assert left.unread
