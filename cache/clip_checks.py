"""Each clip's own checksum, and whether the format's library sees the array that we wrote."""

from pathlib import Path

import google_crc32c
import h5py
import numpy as np
import pyarrow as pa
import zarr

from stepcli.cache.errors import DamagedStore
from stepcli.cache.formats import token_file
from stepcli.cache.hdf5_tokens import FILE
from stepcli.cache.manifest import Manifest
from stepcli.cache.ranges import OpenFile
from stepcli.cache.token_layout import TokenLayout, layout_of
from stepcli.cache.zarr_tokens import GROUP


def damaged_clips(part: Path, manifest: Manifest, index: pa.Table, intact: bool) -> tuple[str, ...]:
    """Ids of the clips in a part whose bytes do not match their crc32c.

    Args:
        part: the part's folder.
        manifest: of the store.
        index: the part's index.
        intact: whether the digests of all the part's files match; only then is the format's
            library asked to open them.

    Raises:
        DamagedStore: the library sees another array, though all digests match.
        FileNotFoundError: the token file is missing.
    """
    layout = layout_of(manifest.spec)
    file = OpenFile(part / token_file(manifest.format, layout))
    buffer = np.empty(layout.clip_bytes, np.uint8)
    damaged = []
    columns = (index[name].to_pylist() for name in ("id", "offset", "crc32c"))
    for clip, offset, checksum in zip(*columns, strict=True):
        if offset + layout.clip_bytes > file.size:
            damaged.append(clip)
            continue
        file.read_into(buffer.data, offset)
        if google_crc32c.value(buffer) != checksum:
            damaged.append(clip)
    if intact and not damaged:
        _require_same_array(part, manifest, layout, index.num_rows)
    return tuple(damaged)


def _require_same_array(part: Path, manifest: Manifest, layout: TokenLayout, clips: int) -> None:
    if manifest.format == "hdf5":
        with h5py.File(part / FILE, "r") as file:
            shape, dtype = file["tokens"].shape, file["tokens"].dtype
    else:
        array = zarr.open_group(part / GROUP, mode="r")["tokens"]
        shape, dtype = array.shape, array.dtype
    expected = (clips, *layout.clip_shape)
    if tuple(shape) != expected or np.dtype(dtype) != layout.storage_dtype:
        raise DamagedStore(
            f"{part}: the array is {tuple(shape)} {dtype}, expected {expected} "
            f"{layout.storage_dtype.name}"
        )
