"""Compressed parts of earlier versions: kept, named, and rewritten uncompressed."""

import gzip
from pathlib import Path
from typing import Any

import google_crc32c
import h5py
import numpy as np
import pytest
from compressed_parts import KINDS, SHARD, compress_parts, record_files
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens
from store_commands import run

from stepcli.cache import open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage.places import place_of
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import DamagedStore, StoreError

compressed = pytest.mark.parametrize(("form", "compression"), KINDS)


def stored(clips: list[str], spec: StoreSpec = SPEC) -> np.ndarray:
    return np.stack([make_tokens(clip, spec) for clip in clips]).astype(np.float16)


def token_file(store: Store) -> Path:
    assert isinstance(store.path, Path)
    return (
        store.path / "parts" / store.parts[0] / (SHARD if store.format == "zarr" else "tokens.h5")
    )


@compressed
def test_reading_says_how_to_rewrite_them_and_compact_does(
    tmp_path: Path, form: Any, compression: str
) -> None:
    before = fill_store(tmp_path, form, 7, part_clips=2).fingerprint
    store = compress_parts(tmp_path, compression, parts=3)
    assert store.fingerprint == before
    assert verify_store(tmp_path).ok
    assert run("info", "--store", tmp_path)["compressed_parts"] == 3
    with pytest.raises(StoreError) as refused:
        store.read(store.ids)
    assert str(refused.value) == (
        f"the store {tmp_path} has 3 compressed parts, written by an earlier version: stepcli "
        f"store compact --store {tmp_path} rewrites them uncompressed, stepcli store convert "
        f"{tmp_path} NEW makes an uncompressed copy"
    )
    plain = [
        clip for clip, part in zip(store.ids, store.snapshot.part_of, strict=True) if part == 3
    ]
    np.testing.assert_array_equal(store.read(plain), stored(plain))
    with store.writer(PRODUCER) as writer:  # an extraction continues
        writer.add(make_record("more"), make_tokens("more"))
    store.refresh()
    run("convert", tmp_path, tmp_path / "copy")
    run("compact", "--store", tmp_path)
    for path in (tmp_path, tmp_path / "copy"):
        rewritten = open_store(path)
        np.testing.assert_array_equal(rewritten.read(store.ids), stored(store.ids))
        assert rewritten.fingerprint == store.fingerprint
        assert "compressed_parts" not in run("info", "--store", path)
        assert verify_store(path).ok


@compressed
def test_a_lone_compressed_part_is_rewritten_with_its_scales(
    tmp_path: Path, form: Any, compression: str
) -> None:
    spec = StoreSpec.model_validate({**dict(SPEC), "dtype": "int8-channel", "layers": (-2, -1)})
    store = fill_store(tmp_path, form, 3, spec=spec)
    expected = store.read_arrays(store.ids)
    assert compress_parts(tmp_path, compression).fingerprint == store.fingerprint
    assert len(run("compact", "--store", tmp_path)["rewritten"]) == 1
    for array, known in zip(open_store(tmp_path).read_arrays(store.ids), expected, strict=True):
        np.testing.assert_array_equal(array, known)


@compressed
def test_from_object_storage(tmp_path: Path, form: Any, compression: str) -> None:
    fill_store(tmp_path / "disk", form, 5, part_clips=3)
    compress_parts(tmp_path / "disk", compression)
    url = f"memory://{tmp_path}"
    for path in (tmp_path / "disk").rglob("*"):
        if path.is_file():
            (place_of(url) / str(path.relative_to(tmp_path / "disk"))).write(path.read_bytes())
    with pytest.raises(StoreError, match="2 compressed parts"):
        open_store(url).read(["clip-0001"])
    assert verify_store(url).ok
    run("compact", "--store", url)
    np.testing.assert_array_equal(open_store(url).read(clip_ids(5)), stored(clip_ids(5)))


@compressed
def test_a_flipped_bit_costs_the_part_and_is_named(
    tmp_path: Path, form: Any, compression: str
) -> None:
    fill_store(tmp_path, form, 5, part_clips=3)
    store = compress_parts(tmp_path, compression)
    path = token_file(store)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    lost, rest = clip_ids(5)[:3], clip_ids(5)[3:]
    if store.snapshot.part_of[0] != 0:
        lost, rest = rest, lost
    assert run("verify", "--store", tmp_path, fails=DamagedStore)["problems"][-1]["clips"] == lost
    assert run("repair", "--store", tmp_path)["dropped_clips"] == lost
    run("compact", "--store", tmp_path)
    np.testing.assert_array_equal(open_store(tmp_path).read(rest), stored(rest))


def table_of(path: Path) -> np.ndarray:
    """[3 clips, 2]: offset and length of each chunk of a shard."""
    return np.frombuffer(path.read_bytes()[-52:-4], "<u8").reshape(3, 2).copy()


def put_table(path: Path, table: np.ndarray) -> None:
    data = table.astype("<u8").tobytes()
    checksum = google_crc32c.value(data).to_bytes(4, "little")
    path.write_bytes(path.read_bytes()[:-52] + data + checksum)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("behind the end", (10**6, 8)),
        ("a sum beyond 64 bits", (8, 2**64 - 8)),
        ("an empty chunk", (8, 0)),
        ("no chunk of the codec", (3, 40)),
    ],
)
def test_a_strangers_shard_costs_the_clip_that_it_lies_about(
    tmp_path: Path, what: str, change: tuple[int, int]
) -> None:
    fill_store(tmp_path, "zarr", 3)
    store = compress_parts(tmp_path, "zstd")
    table = table_of(token_file(store))
    table[1] = change
    put_table(token_file(store), table)
    record_files(token_file(store).parents[2])
    assert verify_store(tmp_path).damaged_clips == ["clip-0001"], what


def test_a_chunk_never_unpacks_to_more_than_a_clip(tmp_path: Path) -> None:
    fill_store(tmp_path, "zarr", 3)
    store = compress_parts(tmp_path, "gzip")
    path = token_file(store)
    data, bomb = path.read_bytes(), gzip.compress(bytes(10**8))
    table = table_of(path)
    table[2] = (len(data) - 52, len(bomb))
    path.write_bytes(data[:-52] + bomb + data[-52:])
    put_table(path, table)
    record_files(path.parents[2])
    assert verify_store(tmp_path).damaged_clips == ["clip-0002"]


@pytest.mark.parametrize(
    "kind", ["nothing", "a group", "a link", "another file", "virtual", "external", "a shape", "i2"]
)
def test_a_strangers_hdf5_file_is_not_followed(tmp_path: Path, kind: str) -> None:
    fill_store(tmp_path, "hdf5", 3)
    path = token_file(compress_parts(tmp_path, "gzip"))
    elsewhere = tmp_path / "elsewhere.h5"
    path.rename(elsewhere)
    shape = (3, *SPEC.clip_shape)
    with h5py.File(path, "w") as file:
        match kind:
            case "a group":
                file.create_group("tokens")
            case "a link":
                file["other"] = stored(clip_ids(3))
                file["tokens"] = h5py.SoftLink("/other")
            case "another file":
                file["tokens"] = h5py.ExternalLink(str(elsewhere), "tokens")
            case "virtual":
                virtual = h5py.VirtualLayout(shape, "<f2")
                virtual[:] = h5py.VirtualSource(str(elsewhere), "tokens", shape)
                file.create_virtual_dataset("tokens", virtual)
            case "external":
                file.create_dataset("tokens", shape, "<f2", external=[(str(elsewhere), 0, 540)])
            case "a shape":
                file["tokens"] = stored(clip_ids(4))
            case "i2":
                file["tokens"] = stored(clip_ids(3)).view("<i2")
    record_files(path.parent)
    assert verify_store(tmp_path).damaged_clips == clip_ids(3)
    with pytest.raises(DamagedStore, match="clip 'clip-0000' does not match its checksum"):
        run("compact", "--store", tmp_path)


def test_what_libhdf5_cannot_read_is_not_called_damaged(tmp_path: Path) -> None:
    """The bytes are those of the record, so the disk, or libhdf5, may be at fault."""
    fill_store(tmp_path, "hdf5", 3)
    path = token_file(compress_parts(tmp_path, "gzip"))
    path.write_bytes(b"junk" * 300)
    record_files(path.parent)
    (problem,) = verify_store(tmp_path).problems
    assert problem.unread
    assert "cannot read its compressed tokens" in problem.problem
