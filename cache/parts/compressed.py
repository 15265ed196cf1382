"""Read tokens of compressed parts, which earlier versions wrote, to copy them uncompressed."""

import google_crc32c
import numpy as np
import pyarrow as pa

from stepcli.cache.parts.record import PartRecord
from stepcli.cache.schema.part_layout import ArrayLayout
from stepcli.cache.storage.file_reader import OpenFile
from stepcli.runtime.errors import DamagedStore, StorageError


def read_compressed(
    file: OpenFile, tokens: ArrayLayout, record: PartRecord, row: int
) -> np.ndarray:
    """Read the tokens of one clip, [*clip_shape], from a file whose digest is right.

    Raises:
        DamagedStore: the file does not have the layout that earlier versions wrote.
        StorageError: libhdf5 cannot read the file, or memory ran out.
    """
    read = _hdf5_clip if record.format == "hdf5" else _zarr_clip
    try:
        return read(file, tokens, record, row)
    except MemoryError as error:
        raise StorageError(f"{file.path}: not enough memory for its compressed tokens") from error
    except (LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise DamagedStore(f"{file.path}: cannot read its compressed tokens: {error}") from error


def _zarr_clip(file: OpenFile, tokens: ArrayLayout, record: PartRecord, row: int) -> np.ndarray:
    table = bytearray(16 * record.clips + 4)  # offset and length of each chunk, then crc32c
    file.read_into(memoryview(table), max(0, file.size - len(table)))
    start, length = np.frombuffer(table[:-4], "<u8").reshape(-1, 2)[row].tolist()
    if google_crc32c.value(bytes(table[:-4])) != int.from_bytes(table[-4:], "little"):
        raise ValueError("the table of its chunks does not match its checksum")
    if start + length > file.size:
        raise ValueError("the table of its chunks names bytes beyond its end")
    data = bytearray(length)
    file.read_into(memoryview(data), start)
    try:  # never unpacks to more than one clip, whatever the chunk says
        unpacked = pa.decompress(data, tokens.clip_bytes, codec=record.compression)
    except OSError as error:
        raise ValueError(error) from error
    return np.frombuffer(unpacked, tokens.dtype).reshape(tokens.clip_shape)


def _hdf5_clip(file: OpenFile, tokens: ArrayLayout, record: PartRecord, row: int) -> np.ndarray:
    import h5py

    try:
        with h5py.File(file.path, "r") as opened:
            found = opened[tokens.name]
            own = isinstance(opened.get(tokens.name, getlink=True), h5py.HardLink)
            if not own or found.is_virtual or found.external:
                raise ValueError("its tokens are a link")
            if (found.shape, found.dtype) != ((record.clips, *tokens.clip_shape), tokens.dtype):
                raise ValueError(f"found {found.shape} {found.dtype}")
            return np.asarray(found[row])
    except OSError as error:
        raise StorageError(f"{file.path}: cannot read its compressed tokens: {error}") from error
