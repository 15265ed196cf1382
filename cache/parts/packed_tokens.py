"""Tokens of compressed parts, read through the format's library: zarr-python or h5py.

Nothing is handed to a library before its size is right and what it says about itself is exactly
what stepcli writes: a part may come from anybody.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import h5py
import numpy as np

from stepcli.cache.durable import SEALED_LIMIT, Place, read_regular
from stepcli.cache.errors import DamagedStore
from stepcli.cache.formats import hdf5_tokens, zarr_tokens
from stepcli.cache.formats.choice import array_file
from stepcli.cache.formats.compression import COMPRESSIONS
from stepcli.cache.formats.layout import ArrayLayout, TokenLayout
from stepcli.cache.formats.raw_file import RawFile
from stepcli.cache.manifest import Format
from stepcli.cache.parts.files import file_size
from stepcli.cache.parts.ranges import OpenFile
from stepcli.cache.parts.record import PartRecord
from stepcli.cache.remote.objects import ObjectPath


class PackedTokens(Protocol):
    """The tokens of one part, opened in its format's library."""

    def read_row(self, row: int, out: np.ndarray) -> None:
        """Copy one clip's tokens.

        Raises:
            FileNotFoundError: the part is gone.
            DamagedStore: the library cannot make them of what is there.
        """


def open_packed(
    folder: Place, form: Format, layout: TokenLayout, record: PartRecord
) -> PackedTokens:
    """Open a part's tokens in the format's library.

    Args:
        folder: the part's.
        form: "zarr" or "hdf5".
        layout: of the store.
        record: the part's.

    Raises:
        FileNotFoundError: the part is gone.
        DamagedStore: its files are not those that its record lists.
    """
    file = array_file(form, layout.tokens)
    # No folder on the way to the file may be a link either: the libraries would follow it.
    size = (
        file_size(folder / file) if isinstance(folder, ObjectPath) else OpenFile(folder, file).size
    )
    if file not in record.files or size != record.files[file].size:
        raise DamagedStore(f"{folder / file}: {size} bytes are not what the part's record says")
    with _damage(folder):
        if form == "zarr":
            return _PackedZarr(folder, layout.tokens, record.clips)
        return _PackedHdf5(folder, layout.tokens, record.clips)


@contextmanager
def _damage(place: Place) -> Iterator[None]:
    """What libraries raise on bytes that make no sense to them, said as a store's error."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DamagedStore(
            f"{place}: its compressed tokens cannot be read ({reason}); run stepcli store verify"
        ) from error


class _PackedZarr:
    def __init__(self, folder: Place, tokens: ArrayLayout, clips: int) -> None:
        import zarr

        self._folder = folder
        self._shard = folder / zarr_tokens.array_file(tokens)
        metadata = folder / zarr_tokens.GROUP / tokens.name / "zarr.json"
        known = [
            zarr_tokens.metadata_bytes(tokens, clips, compression)
            for compression in COMPRESSIONS["zarr"]
        ]
        if read_regular(metadata, SEALED_LIMIT) not in known:
            raise DamagedStore(f"{metadata}: not the metadata that stepcli writes")
        if isinstance(folder, ObjectPath):
            key = f"{folder.key}/{zarr_tokens.GROUP}/{tokens.name}"
            array = folder.client.zarr_array(key)
        else:
            array = zarr.open_array(folder / zarr_tokens.GROUP / tokens.name, mode="r")
        self._array: Any = array

    def read_row(self, row: int, out: np.ndarray) -> None:
        with _damage(self._folder):
            out[...] = self._array[row]
        if not out.any():
            # Zarr reads a shard that is not there as the fill value, without a word.
            file_size(self._shard)


class _PackedHdf5:
    def __init__(self, folder: Place, tokens: ArrayLayout, clips: int) -> None:
        self._folder = folder
        path = folder / hdf5_tokens.FILE
        self._file = h5py.File(_ObjectFile(path) if isinstance(path, ObjectPath) else path, "r")
        link = self._file.get(tokens.name, getlink=True)
        dataset = self._file.get(tokens.name) if isinstance(link, h5py.HardLink) else None
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise DamagedStore(f"{path}: holds no tokens of its own")
        found = (dataset.shape, dataset.dtype, dataset.chunks)
        meant = ((clips, *tokens.clip_shape), tokens.dtype, (1, *tokens.clip_shape))
        if found != meant or dataset.compression != "gzip":
            raise DamagedStore(f"{path}: holds {found}, expected {meant} with gzip")
        self._dataset = dataset

    def read_row(self, row: int, out: np.ndarray) -> None:
        with _damage(self._folder):
            self._dataset.read_direct(out, np.s_[row])


class _ObjectFile(RawFile):
    """An object as a file that libhdf5 can read through Python."""

    def __init__(self, path: ObjectPath) -> None:
        super().__init__(path.client.size(path.key))
        self._path = path

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        count = max(0, min(len(target), self._size - self._at))
        if count:
            (data,) = self._path.client.get_ranges(self._path.key, [self._at], count)
            target[:count] = memoryview(data).cast("B")
            self._at += count
        return count
