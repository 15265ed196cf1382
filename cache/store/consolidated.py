"""One index of all parts, kept beside them so that a store of 900 parts opens at once.

`.cache/index-<sha256>.parquet` holds what a snapshot holds, and the names of the parts it was made
from. It is never the truth: one that does not match its own name, or that names a part which is
gone, is ignored, and the process that opens the store next writes it again. In object storage
opening writes nothing, since most readers have no right to: there extraction and the commands that
write parts make it.
"""

import json
from itertools import pairwise

import numpy as np
import pyarrow as pa

from stepcli.cache.parts.index import (
    decode_table,
    encode_table,
    offset_column,
    require_offsets,
)
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.schema.part_layout import PartLayout, part_layout
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.derived_files import (
    MOST_CLIPS,
    derived_files,
    read_derived,
    write_derived,
)
from stepcli.cache.store.snapshot import Snapshot
from stepcli.runtime.errors import DamagedStore, StorageError
from stepcli.runtime.parquet_tables import numbers


def load_consolidated(root: StoragePath, manifest: Manifest, parts: list[str]) -> Snapshot | None:
    """The consolidated index that covers most of `parts`; None when there is none.

    One that covers only some of them is a beginning: a copy of a clip that was superseded among
    those stays superseded whatever other parts hold.
    """
    best: Snapshot | None = None
    current = set(parts)
    for path in derived_files(root, "index"):
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
    write_derived(root, "index", data)


def _schema(layout: PartLayout) -> pa.Schema:
    offsets = [(offset_column(array), pa.int64()) for array in layout.arrays]
    places = [("part", pa.int32()), ("row", pa.int32()), ("crc32c", pa.uint32())]
    return pa.schema([("id", pa.string()), *places, *offsets])


def _read(path: StoragePath, manifest: Manifest) -> Snapshot:
    layout = part_layout(manifest.spec)
    table = decode_table(read_derived(path), _schema(layout), path, MOST_CLIPS)
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
