"""A part's life, step by step: names, records, staging, commit, damage, tombstones."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache.parts.commit import (
    Staging,
    generation_of,
    is_part_name,
    list_parts,
    new_part_name,
    read_part_record,
    remove_part,
)
from stepcli.cache.parts.files import wrong_file
from stepcli.cache.parts.open_part import OpenPart, clip_checksum
from stepcli.cache.parts.record import parse_part_record
from stepcli.cache.parts.scan import intact_clips, part_clips
from stepcli.cache.parts.tombstones import (
    buried_parts,
    bury,
    check_tombstone,
    rewrite_tombstone,
    tombstone_files,
)
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.quantize import encode_clip
from stepcli.cache.storage import writer_identity as owners
from stepcli.cache.store.snapshot import read_index
from stepcli.cache.store.store import Store
from stepcli.runtime import files as runtime_files
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.files import sync_all
from stepcli.runtime.sealed_json import seal, unseal

LAYOUT = part_layout(SPEC)
MANIFEST = Manifest(dataset="test", format="zarr", spec=SPEC, spec_digest=SPEC.digest)


def filled(root: Path, clips: int = 3, **options: Any) -> tuple[Store, str]:
    store = fill_store(root, "zarr", clips, part_clips=clips, **options)
    (name,) = store.parts
    return store, name


def test_names_sort_by_generation() -> None:
    first, second = new_part_name(9), new_part_name(10)
    assert first < second
    assert (generation_of(first), generation_of(second)) == (9, 10)
    assert is_part_name(first)
    assert first != new_part_name(9)
    for wrong in ("", "parts", first[1:], f"{first}0", f"../{first}", first.upper() + "G"):
        assert not is_part_name(wrong)


def test_only_whole_parts_without_a_tombstone_are_listed(tmp_path: Path) -> None:
    store, name = filled(tmp_path)
    assert list_parts(tmp_path / "nowhere") == []
    for other in ("notes", ".hidden", "000000-xyz"):
        (tmp_path / "parts" / other).mkdir()
    (tmp_path / "parts" / new_part_name(3)).write_text("a file")
    (tmp_path / "parts" / new_part_name(4)).symlink_to(tmp_path / "parts" / name)
    assert list_parts(tmp_path) == [name]
    later, earlier = new_part_name(2), new_part_name(1)
    for other in (later, earlier):
        (tmp_path / "parts" / other).mkdir()
    assert list_parts(tmp_path) == [name, earlier, later]
    bury(tmp_path, later, "why", ["clip"])
    assert list_parts(store.path) == [name, earlier]


def test_a_record_that_is_another_parts_is_refused(tmp_path: Path) -> None:
    _, name = filled(tmp_path)
    record = read_part_record(tmp_path, name)
    assert (record.name, record.clips, record.format) == (name, 3, "zarr")
    assert record.producer == PRODUCER
    assert time.strptime(record.created, "%Y-%m-%dT%H:%M:%SZ")
    other = new_part_name(0)
    (tmp_path / "parts" / name).rename(tmp_path / "parts" / other)
    with pytest.raises(DamagedStore, match=f"it describes part {name}, not this one"):
        read_part_record(tmp_path, other)
    with pytest.raises(FileNotFoundError):
        read_part_record(tmp_path, name)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("clips", 0, "field clips: Input should be greater than or equal to 1"),
        ("clips", 1 << 25, "field clips: Input should be less than or equal to 16777216"),
        ("schema_number", 0, "field schema_number"),
        ("format", "npz", "field format"),
        ("files", {"../x": {"size": 1, "sha256": "0" * 64}}, "'../x' is no file of a part"),
        ("files", {"/x": {"size": 1, "sha256": "0" * 64}}, "'/x' is no file of a part"),
        ("files", {"a/b/c/d": {"size": 1, "sha256": "0" * 64}}, "is no file of a part"),
        ("files", {"index.parquet": {"size": -1, "sha256": "0" * 64}}, "files.index.parquet.size"),
        ("files", {"index.parquet": {"size": 1, "sha256": "0" * 63}}, "sha256"),
        ("more", 1, "field more: Extra inputs are not permitted"),
    ],
)
def test_records_that_cannot_be(tmp_path: Path, field: str, value: object, message: str) -> None:
    _, name = filled(tmp_path)
    path = tmp_path / "parts" / name / "part.json"
    content = unseal(path.read_bytes(), path)
    with pytest.raises(DamagedStore) as refused:
        parse_part_record(seal({**content, field: value}), "part.json")
    assert str(refused.value).startswith("part.json: field ")
    assert message in str(refused.value)
    assert parse_part_record(seal(content), path).clips == 3


def test_a_part_is_committed_once_and_only_whole(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"")
    staging = Staging(tmp_path)
    assert staging.folder == tmp_path / ".staging" / staging.owner.name
    part = OpenPart(staging, MANIFEST, 4, 7)
    assert (part.clips, {*(tmp_path / "parts").names()}) == (0, set())
    for clip in clip_ids(2):
        part.add(make_record(clip), encode_clip(make_tokens(clip), LAYOUT, clip))
    assert part.clips == 2
    assert list_parts(tmp_path) == []
    (unfinished,) = staging.folder.iterdir()
    record = part.commit(PRODUCER)
    assert list_parts(tmp_path) == [record.name] == [unfinished.name]
    assert generation_of(record.name) == 7
    assert record == read_part_record(tmp_path, record.name)
    folder = tmp_path / "parts" / record.name
    assert {*folder.names()} == {*record.files, "part.json"}
    assert not any(wrong_file(folder / path, known) for path, known in record.files.items())
    index = read_index(tmp_path, record.name, MANIFEST)
    found = list(part_clips(tmp_path, record.name, MANIFEST, index))
    assert [clip.record for clip in found] == [make_record(clip) for clip in clip_ids(2)]
    assert all(clip.intact for clip in found)
    remove_part(tmp_path, record.name, staging)
    assert list_parts(tmp_path) == []
    assert not list(staging.folder.iterdir())
    remove_part(tmp_path, record.name, staging)  # another process was first
    staging.close()
    assert not staging.folder.exists()


def test_a_part_knows_how_long_it_has_been_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = OpenPart(Staging(tmp_path), MANIFEST, 4, 0)
    assert part.age_seconds >= 0
    later = time.monotonic() + 100
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert 100 <= part.age_seconds < 700  # a busy machine may have been slow
    part.discard()


def test_a_clips_checksum_is_the_crc32c_of_all_its_bytes() -> None:
    """The check value of the algorithm's definition: readers in other languages get it too."""
    text = np.frombuffer(b"123456789", np.uint8)
    assert clip_checksum([text]) == clip_checksum([text[:4], text[4:]]) == 0xE3069283


def test_a_rename_whose_answer_is_lost_is_looked_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS may run a rename and say that the source is gone; if the part is there, all is well."""

    def lost(path: Path, target: Path) -> Path:
        if path.name in arrives:
            os.rename(path, target)  # noqa: PTH104 (Path.rename is what is replaced here)
        raise FileNotFoundError(path)

    staging = Staging(tmp_path)
    parts = [OpenPart(staging, MANIFEST, 4, 0) for _ in range(2)]
    arrives = [parts[0]._folder.name]
    for part in parts:
        part.add(make_record("a"), encode_clip(make_tokens("a"), LAYOUT, "a"))
    monkeypatch.setattr(Path, "rename", lost)
    assert parts[0].commit(PRODUCER).name == arrives[0]
    with pytest.raises(FileNotFoundError):
        parts[1].commit(PRODUCER)
    assert list_parts(tmp_path) == arrives


def test_an_interrupted_clip_is_written_over(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    part = OpenPart(staging, MANIFEST, 4, 0)
    first, torn, second = ((clip, encode_clip(make_tokens(clip), LAYOUT, clip)) for clip in "abc")
    part.add(make_record("a"), first[1])
    part._tokens.write(1, torn[1])  # Ctrl-C came before its row
    part._records.append(make_record("b"))
    part.add(make_record("c"), second[1])
    record = part.commit(PRODUCER)
    index = read_index(tmp_path, record.name, MANIFEST)
    clips = list(intact_clips(tmp_path, record.name, MANIFEST, index, range(2)))
    assert [clip.record.id for clip in clips] == ["a", "c"]
    np.testing.assert_array_equal(clips[1].arrays[0], second[1][0])


def test_a_discarded_part_frees_its_space(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    part = OpenPart(staging, MANIFEST, 4, 0)
    assert len(list(staging.folder.iterdir())) == 1
    part.discard()
    assert not list(staging.folder.iterdir())


def test_a_heartbeat_touches_the_folder_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(tmp_path)
    staging.make_folder()
    os.utime(staging.folder, (1, 1))
    staging.heartbeat()
    assert staging.folder.stat().st_mtime == 1
    now = time.monotonic() + owners.HEARTBEAT_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: now)
    staging.heartbeat()
    assert staging.folder.stat().st_mtime > 1
    os.utime(staging.folder, (1, 1))
    staging.heartbeat()
    assert staging.folder.stat().st_mtime == 1


def test_tombstones_outlast_what_they_stand_for(tmp_path: Path) -> None:
    _, name = filled(tmp_path)
    assert (tombstone_files(tmp_path), buried_parts(tmp_path)) == ([], set())
    bury(tmp_path, name, "a flipped bit", ["clip-0000"])
    (path,) = tombstone_files(tmp_path)
    content = unseal(path.read_bytes(), path)
    assert content["dropped_clips"] == ["clip-0000"]
    assert (content["reason"], content["part"]) == ("a flipped bit", name)
    before = path.read_bytes()
    bury(tmp_path, name, "another reason", [])
    assert path.read_bytes() == before
    (tmp_path / "tombstones" / "notes.txt").write_text("")
    assert buried_parts(tmp_path) == {name}
    check_tombstone(path)
    path.write_bytes(seal({**content, "part": new_part_name(0)}))
    with pytest.raises(DamagedStore, match="not the tombstone of that part"):
        check_tombstone(path)
    path.write_bytes(seal({"part": name}))
    with pytest.raises(DamagedStore, match="not the tombstone of that part"):
        check_tombstone(path)
    rewrite_tombstone(path)
    check_tombstone(path)
    assert unseal(path.read_bytes(), path)["reason"] == "its tombstone was damaged"


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_damaged_clips_are_told_from_whole_ones(tmp_path: Path, form: Any) -> None:
    store = fill_store(tmp_path, form, 3, part_clips=3)
    (name,) = store.parts
    index = read_index(tmp_path, name, store.manifest)
    found = list(part_clips(tmp_path, name, store.manifest, index, [2, 0]))
    assert [clip.record.id for clip in found] == ["clip-0002", "clip-0000"]
    for clip in found:
        (tokens,) = clip.arrays
        np.testing.assert_array_equal(tokens, make_tokens(clip.record.id).astype(np.float16))
        assert clip.intact
        assert clip_checksum(clip.arrays) == index["crc32c"][int(clip.record.id[-1])].as_py()
    file = next((tmp_path / "parts" / name).rglob("c.0.0.0.0" if form == "zarr" else "tokens.h5"))
    data = bytearray(file.read_bytes())
    size = LAYOUT.tokens.clip_bytes
    place = int(index["offset"][2].as_py()) + size - 1  # the last byte of the last clip
    data[place] ^= 1
    file.write_bytes(data)
    whole = [clip.intact for clip in part_clips(tmp_path, name, store.manifest, index)]
    assert whole == [True, True, False]
    with pytest.raises(DamagedStore, match="clip 'clip-0002' does not match its checksum"):
        list(intact_clips(tmp_path, name, store.manifest, index, [2]))
    # Cut within the last clip: what is there no longer is no bytes to read.
    file.write_bytes(data[:place])
    short = list(part_clips(tmp_path, name, store.manifest, index))
    assert [len(clip.arrays) for clip in short] == [1, 1, 0]


def test_reading_a_store_does_not_import_pandas(tmp_path: Path) -> None:
    """A third of a second of every command; pyarrow imports it where it is installed."""
    fill_store(tmp_path / "store", "zarr", 2)
    script = (
        "import sys; from stepcli.cache import open_store; store = open_store(sys.argv[1]);"
        "store.read(store.ids); store.clips(); print('pandas' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_file_and_folder_of_a_part_is_synced_before_it_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[Path] = set()

    def note(paths: list[Path]) -> None:
        assert all(path.exists() for path in paths), "the part is no longer staged"
        synced.update(paths)
        sync_all(paths)

    monkeypatch.setattr(runtime_files, "sync_all", note)
    store = fill_store(tmp_path, "zarr", 2)
    (part,) = (tmp_path / "parts" / name for name in store.parts)
    there = {path.relative_to(part) for path in part.rglob("*")} - {Path("part.json")}
    assert {len(path.parts) for path in there} == {1, 2, 3}
    (staged,) = (path for path in synced if path.name == part.name)
    assert {path.relative_to(staged) for path in synced} == there | {Path()}
