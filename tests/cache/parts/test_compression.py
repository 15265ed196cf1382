"""Compressed tokens: read through the format's library, checked and kept as all others are."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import zarr
from sample_clips import PRODUCER, SPEC, clip_ids, fill_store, make_record, make_tokens
from store_commands import run

from stepcli.cache import TokenDataset, create_store, open_store
from stepcli.cache.maintenance.compact import compact_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cache.parts.compression import Compression
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import StoreSpec
from stepcli.runtime.errors import DamagedStore, UsageError

KINDS: list[tuple[Format, Compression]] = [("zarr", "zstd"), ("zarr", "gzip"), ("hdf5", "gzip")]
TOKEN_FILE = {"zarr": "tokens.zarr/tokens/c.0.0.0.0", "hdf5": "tokens.h5"}
compressed = pytest.mark.parametrize(("form", "compression"), KINDS)


def stored(clips: list[str]) -> np.ndarray:
    return np.stack([make_tokens(clip) for clip in clips]).astype(np.float16)


def mixed_store(root: Path, form: Format, compression: Compression) -> None:
    """Plain and compressed parts in one store."""
    fill_store(root, form, 5, part_clips=3)
    store = create_store(root, SPEC, dataset="test")
    with store.writer(PRODUCER, part_clips=3, compression=compression) as writer:
        for clip in clip_ids(11)[5:]:
            writer.add(make_record(clip), make_tokens(clip))


@compressed
def test_plain_and_compressed_parts_in_one_store(
    tmp_path: Path, form: Format, compression: Compression
) -> None:
    mixed_store(tmp_path / "mixed", form, compression)
    store = open_store(tmp_path / "mixed")
    order = [9, 0, 7, 7, 2, 10]
    np.testing.assert_array_equal(store.read(np.array(order)), stored(clip_ids(11))[order])
    assert store.fingerprint == fill_store(tmp_path / "plain", form, 11).fingerprint
    assert verify_store(tmp_path / "mixed").ok


@pytest.mark.parametrize("dtype", ["bfloat16", "int8-channel"])
@compressed
def test_every_dtype_and_any_plain_reader(
    tmp_path: Path, form: Format, compression: Compression, dtype: str
) -> None:
    spec = StoreSpec.model_validate({**dict(SPEC), "dtype": dtype, "layers": (-2, -1)})
    plain = fill_store(tmp_path / "plain", form, 4, spec=spec)
    store = fill_store(tmp_path / "packed", form, 4, spec=spec, compression=compression)
    for ours, theirs in zip(
        store.read_arrays(store.ids), plain.read_arrays(plain.ids), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert verify_store(store.path).ok
    part = store.path / "parts" / store.parts[0]
    if form == "zarr":
        array = zarr.open_group(part / "tokens.zarr", mode="r")["tokens"]
        assert isinstance(array, zarr.Array)
        found = np.asarray(array[:])
    else:
        with h5py.File(part / "tokens.h5") as file:
            assert file["tokens"].compression == "gzip"
            found = file["tokens"][:]
    np.testing.assert_array_equal(found, store.read(store.ids))


def test_a_format_without_that_compressor_says_which_it_has(tmp_path: Path) -> None:
    store = create_store(tmp_path, SPEC, dataset="test", format="hdf5")
    with pytest.raises(UsageError, match=r"hdf5 has no compression 'zstd'; it has none, gzip"):
        store.writer(PRODUCER, compression="zstd")


@compressed
def test_convert_and_compact(tmp_path: Path, form: Format, compression: Compression) -> None:
    source = fill_store(tmp_path / "a", form, 7, part_clips=2)
    words = ("convert", source.path, tmp_path / "b", "--compress", compression)
    run(*words, "--part-clips", 2)
    target = open_store(tmp_path / "b")
    assert target.fingerprint == source.fingerprint
    compact_store(target.path)
    target.refresh()
    assert len(target.parts) == 1
    assert target.snapshot.any_packed
    np.testing.assert_array_equal(target.read(target.ids), stored(clip_ids(7)))
    assert run("info", "--store", target.path)["compression"] == {compression: 1}
    run("convert", target.path, tmp_path / "c")
    assert not open_store(tmp_path / "c").snapshot.any_packed
    assert open_store(tmp_path / "c").fingerprint == source.fingerprint


@compressed
def test_a_flipped_bit_costs_the_part_and_is_named(
    tmp_path: Path, form: Format, compression: Compression
) -> None:
    mixed_store(tmp_path, form, compression)
    store = open_store(tmp_path)
    path = tmp_path / "parts" / store.parts[store.snapshot.part_of[6]] / TOKEN_FILE[form]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    lost = [
        clip
        for place, clip in enumerate(store.ids)
        if store.snapshot.part_of[place] == store.snapshot.part_of[6]
    ]
    report = run("verify", "--store", tmp_path, fails=DamagedStore)
    assert report["problems"][-1]["clips"] == lost
    assert run("repair", "--store", tmp_path)["dropped_clips"] == lost
    store.refresh()
    rest = [clip for clip in clip_ids(11) if clip not in lost]
    np.testing.assert_array_equal(store.read(rest), stored(rest))


@compressed
def test_what_cannot_be_read_is_an_error_never_zeros(
    tmp_path: Path, form: Format, compression: Compression
) -> None:
    store = fill_store(tmp_path, form, 3, compression=compression)
    path = tmp_path / "parts" / store.parts[0] / TOKEN_FILE[form]
    whole = path.read_bytes()
    reader = open_store(tmp_path)
    reader.read(["clip-0000"])
    path.unlink()
    reader.read(["clip-0001"])  # whose file is still open: it reads on
    with pytest.raises(DamagedStore, match="is missing"):
        open_store(tmp_path).read(["clip-0001"])
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedStore, match="bytes are not what the part's record says"):
        open_store(tmp_path).read(["clip-0001"])
    path.write_bytes(whole[: len(whole) // 4] + bytes(len(whole) - len(whole) // 4))
    with pytest.raises(DamagedStore, match=r"does not match its checksum|holds no tokens"):
        open_store(tmp_path).read(["clip-0001"])


def test_metadata_that_stepcli_did_not_write_is_refused(tmp_path: Path) -> None:
    store = fill_store(tmp_path, "zarr", 3, compression="zstd")
    path = tmp_path / "parts" / store.parts[0] / "tokens.zarr" / "tokens" / "zarr.json"
    path.write_text(path.read_text().replace('"level": 3', '"level": 4'))
    with pytest.raises(DamagedStore, match="not the metadata that stepcli writes"):
        store.read(["clip-0001"])


@pytest.mark.parametrize(("form", "compression"), [KINDS[0], KINDS[2]])
def test_threads_forked_and_spawned_readers(
    tmp_path: Path, form: Format, compression: Compression
) -> None:
    store = fill_store(tmp_path, form, 9, part_clips=4, compression=compression)
    expected = store.read(store.ids)  # the libraries' files are open before the fork
    with ThreadPoolExecutor(4) as pool:
        for tokens in pool.map(lambda _: store.read(store.ids), range(12)):
            np.testing.assert_array_equal(tokens, expected)
    loader = torch.utils.data.DataLoader(
        TokenDataset(store), batch_size=4, num_workers=2, multiprocessing_context="fork"
    )
    np.testing.assert_array_equal(torch.cat(list(loader)).numpy(), expected)
    script = "import sys; from stepcli.cache import open_store; store = open_store(sys.argv[1]);"
    script += "sys.stdout.buffer.write(store.read(store.ids).tobytes())"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=True
    )
    assert done.stdout == expected.tobytes()


FULL_DISK = """
import resource, sys
from pathlib import Path
from sample_clips import PRODUCER, SPEC, clip_ids, make_record, make_tokens
from stepcli.cache import create_store
from stepcli.runtime.errors import StoreError
store = create_store(Path(sys.argv[1]), SPEC, dataset="test", format=sys.argv[2])
with store.writer(PRODUCER) as writer:
    writer.add(make_record("kept"), make_tokens("kept"))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    with store.writer(PRODUCER, compression=sys.argv[3]) as writer:
        for clip in clip_ids(500):
            writer.add(make_record(clip), make_tokens(clip))
except StoreError as error:
    print("refused:", error)
    sys.exit(3)
"""


@compressed
def test_a_full_disk(tmp_path: Path, form: Format, compression: Compression) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), form, compression],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert open_store(tmp_path).ids[-1] == "kept"
    assert verify_store(tmp_path).ok
    assert not list((tmp_path / ".staging").iterdir())
