"""Compressed token arrays: which compressors a format has, and how Zarr names them.

Tokens are noise to a compressor (8 % off float16, a few more off int8), so none is the default:
an uncompressed clip is one range of bytes and needs no library to be read. Scales are never
compressed.
"""

from typing import Any, Literal

from stepcli.cache.errors import UsageError
from stepcli.cache.manifest import Format

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
