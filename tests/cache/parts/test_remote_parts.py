"""Parts in object storage: uploaded record last, taken away record first, swept when given up."""

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache.parts import files
from stepcli.cache.parts.commit import (
    Staging,
    list_parts,
    new_part_name,
    read_part_record,
    remove_part,
    staging_owners,
    sweep_staging,
)
from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.parts.open_part import OpenPart
from stepcli.cache.parts.scan import part_clips
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.quantize import encode_clip
from stepcli.cache.storage import objects
from stepcli.cache.storage import writer_identity as owners
from stepcli.cache.storage.handles import Entry
from stepcli.cache.storage.memory_client import MemoryClient
from stepcli.cache.storage.objects import ObjectPath
from stepcli.cache.storage.places import place_of
from stepcli.cache.store.snapshot import read_index
from stepcli.runtime.errors import StoreError

LAYOUT = part_layout(SPEC)
MANIFEST = Manifest(dataset="test", format="hdf5", spec=SPEC, spec_digest=SPEC.digest)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectPath:
    """A place for a store, empty; and a temporary folder of its own on this disk."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    place = place_of(f"memory://{tmp_path.name}")
    assert isinstance(place, ObjectPath)
    return place


def staged(remote: ObjectPath, clips: int = 2) -> OpenPart:
    part = OpenPart(Staging(remote), MANIFEST, 4, 3)
    for clip in clip_ids(clips):
        part.add(make_record(clip), encode_clip(make_tokens(clip), LAYOUT, clip))
    return part


def test_a_part_is_staged_on_this_disk_and_uploaded_whole(
    remote: ObjectPath, tmp_path: Path
) -> None:
    part = staged(remote)
    (folder,) = (tmp_path / "tmp").iterdir()
    assert folder == part._staging.folder
    assert folder.name == f"stepcli-{part._staging.owner.name}"
    assert remote.names() == []
    record = part.commit(PRODUCER)
    assert list_parts(remote) == [record.name]
    assert read_part_record(remote, record.name) == record
    assert not list(folder.iterdir())
    index = read_index(remote, record.name, MANIFEST)
    found = list(part_clips(remote, record.name, MANIFEST, index))
    assert [(clip.record.id, clip.intact) for clip in found] == [
        ("clip-0000", True),
        ("clip-0001", True),
    ]
    remove_part(remote, record.name, part._staging)
    assert (list_parts(remote), remote.names()) == ([], [])


def test_parts_in_object_storage_are_known_by_their_records(remote: ObjectPath) -> None:
    name, half, buried = (new_part_name(number) for number in (2, 1, 0))
    for key in (f"{name}/part.json", f"{half}/tokens.h5", f"{buried}/part.json", "x/part.json"):
        remote.client.put(f"parts/{key}", b"x")
    remote.client.put(f"tombstones/{buried}.json", b"x")
    assert list_parts(remote) == [name]
    remote.client.put(f"parts/{half}/part.json", b"x")
    assert list_parts(remote) == [half, name]


@pytest.mark.parametrize(
    ("arrives", "said"), [(None, "no such object"), (b"short", "5"), (bytes(1 << 20), "1048576")]
)
def test_a_part_whose_files_did_not_all_arrive_is_not_shown(
    remote: ObjectPath, monkeypatch: pytest.MonkeyPatch, arrives: bytes | None, said: str
) -> None:
    """What the storage lists is believed, not what an upload answered."""
    put = MemoryClient.put

    def loses(client: MemoryClient, key: str, source: Any) -> None:
        if not key.endswith("tokens.h5"):
            put(client, key, source)
        elif arrives is not None:
            put(client, key, arrives)

    monkeypatch.setattr(MemoryClient, "put", loses)
    part = staged(remote)
    expected = r"tokens.h5: expected \d+ bytes after uploading, the storage lists " + said
    with pytest.raises(StoreError, match=f"{expected}; run the same command again to resume"):
        part.commit(PRODUCER)
    assert list_parts(remote) == []
    assert (part._folder / "tokens.h5").exists()  # nothing is lost


def test_uploads_that_were_given_up_are_swept(
    remote: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload is given up when none of its objects was written for so long."""
    now = time.time()
    lease = owners.LEASE_HOURS * 3600
    late, fresh, mixed, silent, whole = (new_part_name(0) for _ in range(5))
    old = new_part_name(1)  # behind those that stay
    written = {
        f"{old}/tokens.h5": now - lease - 600,
        f"{old}/folder/index.parquet": now - lease - 900,
        f"{late}/tokens.h5": now - lease + 600,
        f"{fresh}/tokens.h5": now,
        f"{mixed}/tokens.h5": now - lease - 600,
        f"{mixed}/index.parquet": now,
        f"{silent}/tokens.h5": None,  # a storage that does not say when
        f"{whole}/part.json": now - lease - 600,
        "notes/mine.txt": now - lease - 600,
        "mine.txt": now - lease - 600,
    }
    for key in written:
        remote.client.put(f"parts/{key}", b"x")
    entries = MemoryClient.entries

    def dated(client: MemoryClient, prefix: str) -> dict[str, Entry]:
        found = entries(client, prefix)
        return {key: replace(e, written=written[key[6:]]) for key, e in found.items()}

    monkeypatch.setattr(MemoryClient, "entries", dated)
    assert sweep_staging(remote) == [old]
    left = {key.removeprefix("parts/") for key in remote.names()}
    assert left == {key for key in written if not key.startswith(old)}
    assert sweep_staging(remote) == []


@pytest.mark.parametrize("comes", ["its record", "another file"])
def test_an_upload_that_goes_on_meanwhile_is_left(
    remote: ObjectPath, monkeypatch: pytest.MonkeyPatch, comes: str
) -> None:
    name, given_up = new_part_name(0), new_part_name(1)
    for part in (name, given_up):
        remote.client.put(f"parts/{part}/tokens.h5", b"x")
    entries = MemoryClient.entries

    def later(client: MemoryClient, prefix: str) -> dict[str, Entry]:
        found = {key: replace(e, written=1.0) for key, e in entries(client, prefix).items()}
        if name in prefix and comes == "its record":
            found[f"parts/{name}/part.json"] = Entry(1, 1.0)
        elif name in prefix:
            found[f"parts/{name}/index.parquet"] = Entry(1, time.time())
        return found

    monkeypatch.setattr(MemoryClient, "entries", later)
    assert sweep_staging(remote) == [given_up]
    assert remote.names() == [f"parts/{name}/tokens.h5"]


def test_only_this_machines_dead_staging_folders_are_swept(
    remote: ObjectPath, tmp_path: Path
) -> None:
    mine = Staging(remote)
    mine.make_folder()
    me = mine.owner
    dead = tmp_path / "tmp" / f"stepcli-{replace(me, start=me.start - 1).name}"
    dead.mkdir()
    (dead / "half a part").mkdir()
    link = tmp_path / "tmp" / f"stepcli-{replace(me, start=me.start - 2).name}"
    link.symlink_to(tmp_path)
    others = [tmp_path / "tmp" / name for name in ("stepcli-notes", dead.name[8:] + "x")]
    for other in others:
        other.mkdir()
    assert list(staging_owners(remote)) == []
    assert sweep_staging(remote) == [dead.name]
    assert not dead.exists()
    assert mine.folder.is_dir()
    assert link.is_symlink()
    assert all(other.is_dir() for other in others)
    mine.close()
    assert not mine.folder.exists()


def test_a_file_is_hashed_and_copied_in_blocks(
    remote: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "BLOCK_BYTES", 4)
    for size in (0, 3, 4, 5, 8, 11):
        content = os.urandom(size)
        path = remote / "parts" / f"file-{size}"
        path.client.put(path.key, content)
        assert files.file_record(path) == FileRecord.of_bytes(content)
        copy = tmp_path / "a" / "b" / f"copy-{size}"
        assert path.download(copy) == size
        assert copy.read_bytes() == content
        with pytest.raises(FileExistsError):
            path.download(copy)


def test_a_damaged_clip_in_object_storage_is_told(remote: ObjectPath) -> None:
    store = fill_store(remote.url, "hdf5", 3, part_clips=3)
    (name,) = store.parts
    key = f"parts/{name}/tokens.h5"
    index = read_index(remote, name, store.manifest)
    whole = index["offset"].to_pylist()
    data = bytearray(remote.client.get(key))
    data[whole[1]] ^= 1
    remote.client.put(key, bytes(data))
    found = list(part_clips(remote, name, store.manifest, index))
    assert [clip.intact for clip in found] == [True, False, True]
    remote.client.put(key, bytes(data[: whole[2] + 5]))
    found = list(part_clips(remote, name, store.manifest, index))
    assert [len(clip.arrays) for clip in found] == [1, 1, 0]
    np.testing.assert_array_equal(found[0].arrays[0], make_tokens("clip-0000").astype(np.float16))
