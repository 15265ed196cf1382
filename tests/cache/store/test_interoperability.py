"""Anybody's reader opens every part: plain zarr-python, plain h5py, plain pyarrow."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from sample_clips import SPEC, fill_store, make_record, make_tokens
from zarr.core.metadata.v3 import ArrayV3Metadata

from stepcli.cache.parts.zarr_tokens import metadata_files
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.part_layout import ArrayLayout, part_layout
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.store.store import Store


def read_part(store: Store, part: str) -> np.ndarray:
    folder = store.path / "parts" / part
    if store.format == "zarr":
        array = zarr.open_group(folder / "tokens.zarr", mode="r")["tokens"]
        assert isinstance(array, zarr.Array)
        return np.asarray(array[:])
    with h5py.File(folder / "tokens.h5", "r") as file:
        return np.asarray(file["tokens"][:])


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("layers", [(-1,), (-2, -1)])
def test_plain_libraries_read_what_we_wrote(
    tmp_path: Path, form: Format, dtype: str, layers: tuple[int, ...]
) -> None:
    spec = StoreSpec.model_validate({**dict(SPEC), "dtype": dtype, "layers": layers})
    store = fill_store(tmp_path, form, 7, spec=spec, part_clips=3)
    seen = set()
    for part in store.parts:
        tokens = read_part(store, part)
        index = pq.read_table(store.path / "parts" / part / "index.parquet").to_pylist()
        assert tokens.shape == (len(index), *spec.clip_shape)
        assert tokens.dtype == np.dtype(dtype)
        for row, clip in enumerate(index):
            np.testing.assert_array_equal(tokens[row], make_tokens(clip["id"], spec).astype(dtype))
            assert tuple(clip["pts_seconds"]) == make_record(clip["id"]).pts_seconds
            seen.add(clip["id"])
    assert seen == set(store.ids)


def former_metadata(array: ArrayLayout, clips: int) -> dict[str, Any]:
    """zarr.json of an array as earlier versions wrote it, by hand."""
    shape = [clips, *array.clip_shape]
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    shard = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [1, *array.clip_shape],
            # One byte has no order; earlier versions named one all the same.
            "codecs": [little if array.dtype.itemsize > 1 else {"name": "bytes"}],
            "index_codecs": [little, {"name": "crc32c"}],
            "index_location": "end",
        },
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": [shard if array.name == "tokens" else little],
        "dimension_names": list(array.axes),
        "attributes": array.attributes,
    }


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16", "int8-channel"])
@pytest.mark.parametrize("layers", [(-1,), (-2, -1)])
def test_the_metadata_say_what_those_of_earlier_parts_say(
    dtype: str, layers: tuple[int, ...]
) -> None:
    layout = part_layout(SPEC.model_copy(update={"dtype": dtype, "layers": layers}))
    files = metadata_files(layout, 7)
    assert files.keys() == {
        "tokens.zarr/zarr.json",
        *(f"tokens.zarr/{array.name}/zarr.json" for array in layout.arrays),
    }
    for array in layout.arrays:
        now = json.loads(files[f"tokens.zarr/{array.name}/zarr.json"])
        former = former_metadata(array, 7)
        assert ArrayV3Metadata.from_dict(now) == ArrayV3Metadata.from_dict(former)


def test_our_shard_is_the_one_that_zarr_python_writes(tmp_path: Path) -> None:
    """Byte for byte, so that any reader that takes zarr-python's shards takes ours."""
    store = fill_store(tmp_path / "ours", "zarr", 5, part_clips=5)
    tokens = store.read(store.ids)
    theirs = zarr.create_array(
        tmp_path / "theirs",
        shape=tokens.shape,
        chunks=(1, *tokens.shape[1:]),
        shards=tokens.shape,
        dtype=tokens.dtype,
        compressors=None,
        chunk_key_encoding={"name": "default", "separator": "."},
    )
    theirs[:] = tokens
    ours = store.path / "parts" / store.parts[0] / "tokens.zarr" / "tokens" / "c.0.0.0.0"
    assert ours.read_bytes() == (tmp_path / "theirs" / "c.0.0.0.0").read_bytes()


def test_the_clips_table_and_the_array_explain_themselves(tmp_path: Path) -> None:
    zarr_store = fill_store(tmp_path / "zarr", "zarr", 2)
    hdf5_store = fill_store(tmp_path / "hdf5", "hdf5", 2)
    table = pq.read_table(zarr_store.path / "clips.parquet")
    assert table.column_names == ["id", "label", "split", "group", "view"]
    (part,) = zarr_store.parts
    array = zarr.open_group(zarr_store.path / "parts" / part / "tokens.zarr", mode="r")["tokens"]
    assert isinstance(array, zarr.Array)
    (part,) = hdf5_store.parts
    with h5py.File(hdf5_store.path / "parts" / part / "tokens.h5") as file:
        assert dict(file["tokens"].attrs)["segments"] == array.attrs["segments"] == "cls:1,grid2:4"
    assert array.metadata.dimension_names == ("clip", "frame", "token", "channel")
