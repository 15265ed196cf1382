"""Each clip's own checksum, and whether the format's library sees the array that we wrote."""

from pathlib import Path

import h5py
import pyarrow as pa
import zarr

from stepcli.cache.errors import DamagedStore
from stepcli.cache.hdf5_tokens import FILE
from stepcli.cache.manifest import Manifest
from stepcli.cache.stored_clips import part_clips
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
    clips = part_clips(part, manifest, index)
    damaged = [clip.record.id for clip in clips if not clip.intact]
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
