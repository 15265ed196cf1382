"""Parts' arrays as zarr-python and h5py open them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from sample_clips import SPEC, clip_ids, fill_store

from stepcli.cache import open_store
from stepcli.runtime.errors import ClipNotFound, StoreError, UsageError


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_arrays_of_every_part_read_only(tmp_path: Path, form: Any) -> None:
    spec = SPEC.model_copy(update={"dtype": "int8-channel"})
    store = fill_store(tmp_path, form, 5, spec=spec, part_clips=3)
    names = ["tokens", "scales", "channel_scales"]
    assert list(store.arrays()) == list(store.parts)
    assert len(store.arrays()) == 2
    for clip in clip_ids(5):
        part, row = store.locate(clip)
        arrays = [store.arrays(name)[part] for name in names]
        assert isinstance(arrays[0], zarr.Array if form == "zarr" else h5py.Dataset)
        for array, known in zip(arrays, store.read_arrays([clip]), strict=True):
            np.testing.assert_array_equal(array[row], known[0])
            with pytest.raises((ValueError, OSError, TypeError)):
                array[row] = known[0]
    with pytest.raises(UsageError, match="no array 'scale'; it has tokens, scales, channel_scales"):
        store.arrays("scale")
    with pytest.raises(KeyError):
        store.arrays()["000000-" + 32 * "0"]
    with pytest.raises(ClipNotFound):
        store.locate("nowhere")
    gone = store.parts[0]
    (tmp_path / "parts" / gone).rename(tmp_path / "gone")
    with pytest.raises(StoreError, match=f"{gone}: cannot open array tokens"):
        store.arrays()[gone]


def test_zarr_arrays_from_a_bucket(url: str) -> None:
    store = fill_store(url, "zarr", 3)
    part, row = open_store(url).locate("clip-0001")
    array = store.arrays()[part]
    assert isinstance(array, zarr.Array)
    np.testing.assert_array_equal(array[row], store.read(["clip-0001"])[0])


@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_what_a_library_cannot_open_where_it_lies(tmp_path: Path, form: Any) -> None:
    store = fill_store(f"memory://{tmp_path.name}-{form}", form, 1)
    with pytest.raises(UsageError, match="cannot open arrays there; use"):
        store.arrays()[store.parts[0]]
