"""A part's life, step by step: names, records, indexes, files, staging, owners, tombstones."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens

from stepcli.cache.clips import ClipRecord
from stepcli.cache.durable import seal, unseal
from stepcli.cache.errors import DamagedStore
from stepcli.cache.formats.file_record import FileRecord
from stepcli.cache.formats.layout import layout_of
from stepcli.cache.manifest import Manifest
from stepcli.cache.parts import owner as owners
from stepcli.cache.parts.files import copy_file, file_record, file_size, part_file_names, wrong_file
from stepcli.cache.parts.folders import (
    Staging,
    generation_of,
    is_part_name,
    list_parts,
    new_part_name,
    read_part_record,
    remove_part,
    staging_owners,
    sweep_staging,
)
from stepcli.cache.parts.index import decode_index, encode_index, is_storable
from stepcli.cache.parts.open_part import OpenPart, clip_checksum
from stepcli.cache.parts.record import parse_part_record
from stepcli.cache.parts.stored_clips import intact_clips, part_clips
from stepcli.cache.parts.tombstones import (
    buried_parts,
    bury,
    check_tombstone,
    rewrite_tombstone,
    tombstone_files,
)
from stepcli.cache.quantize import encode_clip
from stepcli.cache.reading.snapshot import read_index
from stepcli.cache.remote.objects import place_of
from stepcli.cache.store import Store

LAYOUT = layout_of(SPEC)
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
        ("schema_number", 2, "field schema_number"),
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
    part = OpenPart(staging, MANIFEST, 4, 7, "none")
    assert (part.clips, part_file_names(tmp_path / "parts")) == (0, set())
    assert staging.folder.stat().st_mode & 0o777 == 0o700
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
    assert part_file_names(folder) == {*record.files, "part.json"}
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
    part = OpenPart(Staging(tmp_path), MANIFEST, 4, 0, "none")
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
    parts = [OpenPart(staging, MANIFEST, 4, 0, "none") for _ in range(2)]
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
    part = OpenPart(staging, MANIFEST, 4, 0, "none")
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
    part = OpenPart(staging, MANIFEST, 4, 0, "none")
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


def test_only_folders_of_the_dead_are_swept(tmp_path: Path) -> None:
    child = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from stepcli.cache.parts.owner import new_owner; print(new_owner().name)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    mine = owners.new_owner()
    far = f"elsewhere~boot~1~1~{'0' * 32}"
    old = f"elsewhere~boot~2~1~{'1' * 32}"
    reused = f"{mine.host}~{mine.boot}~{mine.pid}~{mine.start - 1}~{'2' * 32}"
    # Machines of one name, and one that was renamed, tell nothing about each other's processes.
    twin = f"{mine.host}~boot~{mine.pid}~1~{'5' * 32}"
    renamed = f"elsewhere~{mine.boot}~{mine.pid}~1~{'6' * 32}"
    dead = child.stdout.strip()
    staging = tmp_path / ".staging"
    for name in (mine.name, far, old, reused, dead, twin, renamed, "notes"):
        (staging / name).mkdir(parents=True)
    (staging / f"elsewhere~boot~3~1~{'3' * 32}").symlink_to(tmp_path)
    (staging / f"elsewhere~boot~4~1~{'4' * 32}").write_text("a file")
    lease = owners.LEASE_HOURS * 3600
    os.utime(staging / far, (time.time() - lease + 600,) * 2)
    os.utime(staging / old, (time.time() - lease - 600,) * 2)
    assert {owner.name for owner, _ in staging_owners(tmp_path)} == {
        *(mine.name, far, old, reused, dead, twin, renamed)
    }
    assert sorted(sweep_staging(tmp_path)) == sorted([old, reused, dead])
    for name in (mine.name, far, twin, renamed, "notes"):
        assert (staging / name).is_dir()
    assert sweep_staging(tmp_path / "nowhere") == []


def test_owners_are_read_from_names_and_nothing_else_is() -> None:
    mine = owners.new_owner()
    assert owners.parse_owner(mine.name) == mine
    assert mine.pid == os.getpid()
    assert mine.start > 0
    if sys.platform == "linux":  # ticks since the machine started
        ticks = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
        assert mine.start <= ticks
    assert not owners.is_dead(mine, 0)
    for host in ("0", "~"):
        elsewhere = replace(mine, host=host, start=1)
        assert not owners.is_dead(elsewhere, time.time())
        assert owners.is_dead(elsewhere, 1)
    assert owners.new_owner().unique != mine.unique
    for wrong in ("", "a~b~c~d~e", mine.name + "0", f"~{mine.name}", mine.name.replace("~", "-")):
        assert owners.parse_owner(wrong) is None


def test_names_of_machines_fit_into_names_of_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, found in (("büro~1/x", "büro_1_x"), ("a" * 300, "a" * 80), ("", "unknown")):
        monkeypatch.setattr(socket, "gethostname", lambda said=host: said)
        assert owners._host.__wrapped__() == found
        owner = replace(owners.new_owner(), host=found, boot="b" * 80)
        assert owners.parse_owner(owner.name) == owner


def test_owners_on_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ps and sysctl, as far as their output goes."""
    script = f"""#!/bin/sh\nprintf '%s\\n' "$*" >> {tmp_path}/asked\ncat {tmp_path}/said\n"""
    for name in ("ps", "sysctl"):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(owners, "sys", SimpleNamespace(platform="darwin"))
    said = tmp_path / "said"
    said.write_text("{ sec = 1700000000, usec = 123 } Tue Nov 14 23:13:20 2023\n")
    assert owners._boot.__wrapped__() == "__sec___1700000000__usec___123_"
    said.write_text("Tue Nov 14 23:13:20 2023\n")
    start = owners._start_of(123)
    assert start is not None
    assert time.localtime(start)[:6] == (2023, 11, 14, 23, 13, 20)
    said.write_text("\n")
    assert owners._start_of(123) is None
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["-n kern.boottime", *["-o lstart= -p 123"] * 2]


def test_a_process_that_nobody_has_waited_for_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    me = owners.new_owner()
    deadline = time.monotonic() + 60
    while owners._start_of(child.pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    zombie = owners.Owner(me.host, me.boot, child.pid, 1, me.unique)
    assert owners.is_dead(zombie, time.time())
    child.wait()


def test_what_an_index_says_is_what_was_given() -> None:
    records = [make_record(clip) for clip in clip_ids(3)]
    size = LAYOUT.tokens.clip_bytes
    offsets = {"tokens": np.arange(3) * size + 512}
    data = encode_index(records, offsets, [1, 2, 2**32 - 1], LAYOUT)
    table = decode_index(data, 3, LAYOUT, "index")
    assert table["id"].to_pylist() == clip_ids(3)
    assert table["offset"].to_pylist() == [512, 512 + size, 512 + 2 * size]
    assert table["crc32c"].to_pylist() == [1, 2, 2**32 - 1]
    with pytest.raises(DamagedStore, match="index: expected at most 2 rows, found 3"):
        decode_index(data, 2, LAYOUT, "index")
    with pytest.raises(DamagedStore, match="index: expected 4 rows, found 3"):
        decode_index(data, 4, LAYOUT, "index")


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 179], "clips that share bytes"),
        ([0, 0], "clips that share bytes"),
        ([-2, 400], "a byte offset that no file has"),
        ([0, 2**63 - 180], "a byte offset that no file has"),
        ([0, 180], ""),
        ([180, 0], ""),
        ([-1, -1], ""),
        ([0, 2**63 - 181], ""),
    ],
)
def test_offsets_that_no_writer_gives(offsets: list[int], message: str) -> None:
    assert LAYOUT.tokens.clip_bytes == 180
    records = [make_record(clip) for clip in clip_ids(2)]
    data = encode_index(records, {"tokens": np.array(offsets)}, [0, 0], LAYOUT)
    if not message:
        assert decode_index(data, 2, LAYOUT, "index").num_rows == 2
        return
    with pytest.raises(DamagedStore, match=message):
        decode_index(data, 2, LAYOUT, "index")


def test_texts_that_an_index_can_hold() -> None:
    assert is_storable("")
    assert is_storable("x" * (1 << 15))
    assert not is_storable("x" * ((1 << 15) + 1))
    assert not is_storable("é" * (1 << 14) + "x")
    assert not is_storable("\udcff")
    long = ClipRecord("x" * 40_000, "s", (0.0, 0.1, 0.2), 3, 1, 1)
    data = encode_index([long], {"tokens": np.zeros(1, int)}, [0], LAYOUT)
    with pytest.raises(DamagedStore, match="a text longer than 32768 bytes"):
        decode_index(data, 1, LAYOUT, "index")


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
    assert (known.size, file_size(path)) == (3, 3)
    assert wrong_file(path, known) == ""
    assert wrong_file(path, FileRecord.of_bytes(b"abd")) == "its bytes do not match their digest"
    assert wrong_file(path, FileRecord.of_bytes(b"ab")) == "expected 2 bytes, found 3"
    assert wrong_file(folder / "other", known) == "missing"
    assert part_file_names(folder) == {"file"}
    assert copy_file(path, tmp_path / "made" / "copy") == (0 if place == "disk" else 3)
    assert (tmp_path / "made" / "copy").read_bytes() == b"abc"


def test_links_and_folders_are_no_plain_files(tmp_path: Path) -> None:
    known = FileRecord.of_bytes(b"abc")
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder"):
        assert wrong_file(tmp_path / name, known) == "not a plain file"
    assert part_file_names(tmp_path) == {"file", "link"}


def test_a_file_is_copied_where_it_cannot_be_linked(tmp_path: Path) -> None:
    shared = Path("/dev/shm") / f"stepcli-{os.getpid()}"  # another file system
    shared.write_bytes(b"abc")
    try:
        assert copy_file(shared, tmp_path / "copy") == 3
    finally:
        shared.unlink()
    assert (tmp_path / "copy").read_bytes() == b"abc"


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


@pytest.mark.parametrize("compression", ["none", "zstd", "gzip"])
@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_damaged_clips_are_told_from_whole_ones(
    tmp_path: Path, form: Any, compression: Any
) -> None:
    if (form, compression) == ("hdf5", "zstd"):
        return
    store = fill_store(tmp_path, form, 3, part_clips=3, compression=compression)
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
    # The last clip's last byte, or of a compressed file any: it is not looked into.
    place = int(index["offset"][2].as_py()) + size - 1 if compression == "none" else len(data) - 1
    data[place] ^= 1
    file.write_bytes(data)
    whole = [clip.intact for clip in part_clips(tmp_path, name, store.manifest, index)]
    assert whole == [compression == "none"] * 2 + [False]
    with pytest.raises(DamagedStore, match="clip 'clip-0002' does not match its checksum"):
        list(intact_clips(tmp_path, name, store.manifest, index, [2]))
    # Cut within the last clip: what is there no longer is no bytes to read.
    file.write_bytes(data[:place])
    short = list(part_clips(tmp_path, name, store.manifest, index))
    assert [len(clip.arrays) for clip in short] == ([1, 1, 0] if compression == "none" else [0] * 3)
