"""Compressed parts as earlier versions wrote them, made of the parts that are written now."""

import gzip
from pathlib import Path
from typing import Any

import google_crc32c
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stepcli.cache import open_store
from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.parts.index import encode_table
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.store.store import Store
from stepcli.runtime.sealed_json import seal, unseal

KINDS = [("zarr", "zstd"), ("zarr", "gzip"), ("hdf5", "gzip")]
SHARD = "tokens.zarr/tokens/c.0.0.0.0"


def compress_parts(root: Path, compression: str, parts: int | None = None) -> Store:
    """Compress the tokens of the first parts of a store on a disk (None: of all)."""
    store = open_store(root)
    (axes,) = {len(part_layout(store.spec).tokens.axes)}
    shard = SHARD + ".0" * (axes - 4)
    for name in store.parts[:parts]:
        folder = root / "parts" / name
        index = pq.read_table(folder / "index.parquet")
        tokens = store.read(index["id"].to_pylist())
        if store.format == "zarr":
            (folder / shard).write_bytes(_shard(tokens, compression))
        else:
            _gzip_dataset(folder / "tokens.h5", tokens)
        place = index.schema.get_field_index("offset")
        offsets = pa.array([-1] * len(tokens), pa.int64())
        index = index.set_column(place, index.schema.field(place), offsets)
        (folder / "index.parquet").write_bytes(encode_table(index))
        record_files(folder, compression=compression)
    return open_store(root)


def record_files(folder: Path, **changes: Any) -> None:
    """Make a part's record say what its files are now."""
    record = unseal((folder / "part.json").read_bytes(), folder)
    files = {name: (folder / name).read_bytes() for name in record["files"]}
    known = {name: FileRecord.of_bytes(data).model_dump() for name, data in files.items()}
    (folder / "part.json").write_bytes(seal({**record, "files": known, **changes}))


def _shard(tokens: np.ndarray, compression: str) -> bytes:
    if compression == "zstd":
        codec = pa.Codec("zstd", compression_level=3)
        chunks = [codec.compress(clip.tobytes(), asbytes=True) for clip in tokens]
    else:
        chunks = [gzip.compress(clip.tobytes(), 3, mtime=0) for clip in tokens]
    sizes = np.array([len(chunk) for chunk in chunks], "<u8")
    table = np.stack([np.cumsum(sizes) - sizes, sizes], 1).astype("<u8").tobytes()
    checksum = google_crc32c.value(table).to_bytes(4, "little")
    return b"".join(chunks) + table + checksum


def _gzip_dataset(path: Path, tokens: np.ndarray) -> None:
    with h5py.File(path, "r+") as file:
        attributes = dict(file["tokens"].attrs)
        del file["tokens"]
        options: dict[str, Any] = {"compression": "gzip", "compression_opts": 3, "shuffle": True}
        dataset = file.create_dataset(
            "tokens", data=tokens, chunks=(1, *tokens.shape[1:]), **options
        )
        dataset.attrs.update(attributes)
