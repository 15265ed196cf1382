"""Compressed token arrays: which compressors a format has, and how Zarr names them.

Tokens are noise to a compressor (8 % off float16, a few more off int8), so none is the default:
an uncompressed clip is one range of bytes and needs no library to be read. Scales are never
compressed.
"""

import zlib
from typing import Any, Literal

from stepcli.cache.schema.manifest import Format
from stepcli.runtime.errors import UsageError

Compression = Literal["none", "zstd", "gzip"]

COMPRESSIONS: dict[Format, tuple[Compression, ...]] = {
    "zarr": ("none", "zstd", "gzip"),
    "hdf5": ("none", "gzip"),  # libhdf5 has zstd only as a plugin
}
LEVEL = 3
IN_LIBRARY = -1
"""Stands in an index for the byte offset of a clip that only the format's library can find."""


def require_compression(form: Format, compression: Compression) -> None:
    """Refuse a compressor that a format does not have.

    Raises:
        UsageError: naming those that it has.
    """
    if compression not in COMPRESSIONS[form]:
        raise UsageError(
            f"format {form} has no compression {compression!r}; it has "
            f"{', '.join(COMPRESSIONS[form])}"
        )


def zarr_codecs(compression: Compression) -> list[dict[str, Any]]:
    """What follows the codec "bytes" in a Zarr v3 array's metadata."""
    if compression == "zstd":
        return [{"name": "zstd", "configuration": {"level": LEVEL, "checksum": False}}]
    if compression == "gzip":
        return [{"name": "gzip", "configuration": {"level": LEVEL}}]
    return []


def compress(data: memoryview, compression: Compression) -> bytes:
    """One chunk as the Zarr codec of that name writes it."""
    if compression == "zstd":
        from numcodecs.zstd import compress as zstd

        packed: bytes = zstd(data, LEVEL)
        return packed
    import gzip

    return gzip.compress(data, LEVEL, mtime=0)


def decompress_into(data: bytes | bytearray, compression: Compression, out: memoryview) -> None:
    """Unpack one chunk into memory of exactly its size; never more, whatever the chunk says.

    Raises:
        ValueError: it is of another size.
        RuntimeError, zlib.error: it is no such chunk.
    """
    if compression == "zstd":
        from numcodecs.zstd import decompress

        if _zstd_size(data) != out.nbytes:
            raise ValueError(f"a chunk of {_zstd_size(data)} bytes, expected {out.nbytes}")
        decompress(data, out)
        return
    inflater = zlib.decompressobj(wbits=31)  # with gzip's header
    found = inflater.decompress(data, out.nbytes + 1)
    if len(found) != out.nbytes or not inflater.eof:
        raise ValueError(f"a chunk that is not of {out.nbytes} bytes")
    out[:] = found


def _zstd_size(data: bytes | bytearray) -> int:
    """What a zstd frame says it unpacks to; -1 where it does not say (RFC 8878, 3.1.1.1)."""
    if len(data) < 5:
        return -1
    flags = data[4]
    single = flags >> 5 & 1
    width = (single, 2, 4, 8)[flags >> 6]
    first = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    size = int.from_bytes(data[first : first + width], "little")
    return -1 if width == 0 else size + (256 if width == 2 else 0)
