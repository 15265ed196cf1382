"""Each clip's own checksum, and whether the format's library sees the array that we wrote."""

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import zarr

from stepcli.cache.errors import DamagedStore
from stepcli.cache.formats import array_file
from stepcli.cache.hdf5_tokens import FILE
from stepcli.cache.index import offset_column
from stepcli.cache.manifest import Manifest
from stepcli.cache.open_part import clip_checksum
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
    sources = [
        (
            OpenFile(part / array_file(manifest.format, array)),
            index[offset_column(array)].to_pylist(),
            np.empty(array.clip_bytes, np.uint8),
        )
        for array in layout.arrays
    ]
    damaged = []
    columns = zip(index["id"].to_pylist(), index["crc32c"].to_pylist(), strict=True)
    for row, (clip, expected) in enumerate(columns):
        whole = all(offsets[row] + len(buffer) <= file.size for file, offsets, buffer in sources)
        if whole:
            for file, offsets, buffer in sources:
                file.read_into(buffer.data, offsets[row])
        if not whole or clip_checksum([buffer for _, _, buffer in sources]) != expected:
            damaged.append(clip)
    if intact and not damaged:
        _require_same_array(part, manifest, layout, index.num_rows)
    return tuple(damaged)


def _require_same_array(part: Path, manifest: Manifest, layout: TokenLayout, clips: int) -> None:
    if manifest.format == "hdf5":
        with h5py.File(part / FILE, "r") as file:
            found = {name: (tuple(item.shape), item.dtype) for name, item in file.items()}
    else:
        group = zarr.open_group(part / GROUP, mode="r")
        found = {name: (array.shape, array.dtype) for name, array in group.arrays()}
    expected = {array.name: ((clips, *array.clip_shape), array.dtype) for array in layout.arrays}
    if found != expected:
        raise DamagedStore(f"{part}: expected the arrays {expected}, found {found}")
