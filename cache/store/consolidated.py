"""One index of all parts, kept beside them so that a store of 900 parts opens at once.

`.cache/index-<sha256>.parquet` holds what a snapshot holds, and the names of the parts it was made
from. It is never the truth: one that does not match its own name, or that names a part which is
gone, is ignored, and the process that opens the store next writes it again. In object storage
opening writes nothing, since most readers have no right to: there extraction and the commands that
write parts make it.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pyarrow as pa

from stepcli.cache.parts.index import (
    INDEX_LIMIT,
    decode_table,
    encode_table,
    offset_column,
    require_offsets,
)
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.schema.part_layout import PartLayout, part_layout
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.snapshot import Snapshot
from stepcli.runtime.errors import DamagedStore, StorageError, StoreError
from stepcli.runtime.parquet_tables import numbers

FOLDER = ".cache"
FEWEST_PARTS = 16
"""A store of fewer parts opens fast enough without."""
MOST_CLIPS = 1 << 26
_NAME = re.compile(r"index-[0-9a-f]{64}\.parquet")


def load_consolidated(root: StoragePath, manifest: Manifest, parts: list[str]) -> Snapshot | None:
    """The consolidated index that covers most of `parts`; None when there is none.

    One that covers only some of them is a beginning: a copy of a clip that was superseded among
    those stays superseded whatever other parts hold.
    """
    best: Snapshot | None = None
    current = set(parts)
    for path in consolidated_files(root):
        try:
            found = _read(path, manifest)
        except (DamagedStore, StorageError, FileNotFoundError):
            continue  # `verify` reports it; the writer of a newer one has removed it
        if current.issuperset(found.parts) and (best is None or len(found.parts) > len(best.parts)):
            best = found
    return best


def save_consolidated(root: StoragePath, manifest: Manifest, snapshot: Snapshot) -> None:
    """Keep a snapshot for the next to open the store; where that cannot be written, do without."""
    table = pa.table(
        {
            "id": snapshot.ids,
            "part": snapshot.part_of,
            "row": snapshot.row_of,
            "crc32c": snapshot.crc32c_of,
            **{
                offset_column(a): snapshot.offsets[a.name]
                for a in part_layout(manifest.spec).arrays
            },
        },
        schema=_schema(part_layout(manifest.spec)),
    )
    about = {"spec": manifest.spec_digest, "parts": snapshot.parts}
    data = encode_table(table.replace_schema_metadata({"stepcli": json.dumps(about)}))
    with suppress(OSError, StoreError):  # every file system and server refuses in its own way
        older = list(consolidated_files(root))
        folder = (root / FOLDER).make_folder()
        path = folder / f"index-{hashlib.sha256(data).hexdigest()}.parquet"
        path.write(data)
        for other in older:
            if other != path:
                other.remove()


def consolidated_files(root: StoragePath) -> Sequence[StoragePath]:
    """Every consolidated index, also a damaged one."""
    names = (root / FOLDER).child_names()
    return [root / FOLDER / name for name in names if _NAME.fullmatch(name)]


def check_consolidated(path: StoragePath) -> None:
    """Raise DamagedStore when a consolidated index is not what was written."""
    _trusted_bytes(path)


def _trusted_bytes(path: StoragePath) -> bytes:
    data = path.read(INDEX_LIMIT)
    if path.name != f"index-{hashlib.sha256(data).hexdigest()}.parquet":
        raise DamagedStore(f"{path}: its bytes do not match its name; delete it")
    return data


def _schema(layout: PartLayout) -> pa.Schema:
    offsets = [(offset_column(array), pa.int64()) for array in layout.arrays]
    places = [("part", pa.int32()), ("row", pa.int32()), ("crc32c", pa.uint32())]
    return pa.schema([("id", pa.string()), *places, *offsets])


def _read(path: StoragePath, manifest: Manifest) -> Snapshot:
    layout = part_layout(manifest.spec)
    table = decode_table(_trusted_bytes(path), _schema(layout), path, MOST_CLIPS)
    try:
        about = json.loads((table.schema.metadata or {})[b"stepcli"])
        parts, spec = tuple(about["parts"]), about["spec"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedStore(f"{path}: does not say which parts it is of; delete it") from error
    part_of = numbers(table["part"])
    if spec != manifest.spec_digest or not all(isinstance(name, str) for name in parts):
        raise DamagedStore(f"{path}: of another store; delete it")
    if part_of.size and (part_of.min() < 0 or part_of.max() >= len(parts)):
        raise DamagedStore(f"{path}: names a part that it does not list; delete it")
    ids = table["id"].to_pylist()
    row_of = numbers(table["row"])
    if np.any(row_of < 0) or any(one >= other for one, other in pairwise(ids)):
        raise DamagedStore(f"{path}: its clips are not in order; delete it")
    offsets = {array.name: numbers(table[offset_column(array)]) for array in layout.arrays}
    for array in layout.arrays:
        require_offsets(offsets[array.name], array, path)
    return Snapshot(
        parts=parts,
        ids=ids,
        part_of=part_of,
        offsets=offsets,
        crc32c_of=numbers(table["crc32c"]),
        row_of=row_of,
    )
