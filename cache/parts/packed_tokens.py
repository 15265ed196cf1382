"""Tokens of compressed parts: chunks of a Zarr shard, or a dataset that h5py reads.

Nothing is handed to a library before its size is right and what it says about itself is exactly
what stepcli writes: a part may come from anybody.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import google_crc32c
import h5py
import numpy as np

from stepcli.cache.parts import hdf5_tokens, zarr_tokens
from stepcli.cache.parts.byte_source import OpenObject, open_source
from stepcli.cache.parts.compression import COMPRESSIONS, decompress_into
from stepcli.cache.parts.file_reader import OpenFile
from stepcli.cache.parts.format_registry import array_file
from stepcli.cache.parts.raw_file import RawFile
from stepcli.cache.parts.record import PartRecord
from stepcli.cache.schema.layout import ArrayLayout, TokenLayout
from stepcli.cache.schema.manifest import Format
from stepcli.cache.storage.files import Place, read_regular
from stepcli.cache.storage.objects import ObjectPath
from stepcli.runtime.errors import DamagedStore, StorageError
from stepcli.runtime.files import SEALED_LIMIT, reading

Source = OpenFile | OpenObject


class PackedTokens(Protocol):
    """The compressed tokens of one part, opened."""

    def read_row(self, row: int, out: np.ndarray) -> None:
        """Copy one clip's tokens.

        Raises:
            FileNotFoundError: the part is gone.
            DamagedStore: they cannot be made of what is there.
        """


def open_packed(
    folder: Place, form: Format, layout: TokenLayout, record: PartRecord
) -> PackedTokens:
    """Open a part's compressed tokens.

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
    source = open_source(folder, file)
    size = source.size
    if file not in record.files or size != record.files[file].size:
        raise DamagedStore(f"{folder / file}: {size} bytes are not what the part's record says")
    with _damage(folder):
        if form == "zarr":
            return _PackedZarr(folder, source, layout.tokens, record.clips)
        return _PackedHdf5(folder, layout.tokens, record.clips)


@contextmanager
def _damage(place: Place) -> Iterator[None]:
    """What libraries raise on bytes that make no sense to them, said as a store's error."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno is None:  # libhdf5's own: it makes no sense of the bytes
            raise DamagedStore(_unreadable(place, error)) from error
        with reading(place):
            raise
    except MemoryError as error:
        raise StorageError(f"{place}: not enough memory to unpack its tokens") from error
    except (
        *(RuntimeError, ValueError, TypeError, LookupError, EOFError),
        ArithmeticError,
        zlib.error,
    ) as error:
        raise DamagedStore(_unreadable(place, error)) from error


def _unreadable(place: Place, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"{place}: its compressed tokens cannot be read ({reason}); run stepcli store verify"


class _PackedZarr:
    """Chunks found by the shard's own table, unpacked into exactly the bytes of a clip.

    Not through zarr-python: it trusts the table (offsets beyond 2^63 end in an OverflowError), and
    lets a chunk unpack to whatever it says.
    """

    def __init__(self, folder: Place, source: Source, tokens: ArrayLayout, clips: int) -> None:
        self._source = source
        metadata = folder / zarr_tokens.GROUP / tokens.name / "zarr.json"
        known = {
            zarr_tokens.metadata_bytes(tokens, clips, compression): compression
            for compression in COMPRESSIONS["zarr"]
        }
        said = read_regular(metadata, SEALED_LIMIT)
        if said not in known:
            raise DamagedStore(f"{metadata}: not the metadata that stepcli writes")
        self._compression = known[said]
        self._table = _shard_table(source, clips)

    def read_row(self, row: int, out: np.ndarray) -> None:
        with _damage(self._source.path):
            start, length = self._table[row].tolist()
            data = bytearray(length)
            self._source.read_into(memoryview(data), start)
            decompress_into(data, self._compression, out.reshape(-1).data.cast("B"))


def _shard_table(source: Source, clips: int) -> np.ndarray:
    """Where each chunk of a shard lies: [clips, 2] int64, offset and length.

    Raises:
        DamagedStore: the table does not match its checksum, or names bytes that are not there.
    """
    body = source.size - 16 * clips - 4
    if body < 0:
        raise DamagedStore(f"{source.path}: too short for the table of {clips} chunks")
    data = bytearray(16 * clips + 4)
    source.read_into(memoryview(data), body)
    if google_crc32c.value(bytes(data[:-4])) != int.from_bytes(data[-4:], "little"):
        raise DamagedStore(f"{source.path}: its table does not match its checksum")
    table = np.frombuffer(data[:-4], "<u8").reshape(clips, 2)
    if np.any(table > body) or np.any(table.sum(axis=1) > body):
        raise DamagedStore(f"{source.path}: its table names bytes that are not there")
    return table.astype(np.int64)


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
