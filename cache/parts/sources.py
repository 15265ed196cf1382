"""sources.parquet: what each clip of a part was made from, one row per clip as in the index.

Beside the index, not in it: probes need none of it, and earlier versions read these parts too.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import fields

import pyarrow as pa

from stepcli.cache.parts.commit import PARTS, read_part_record
from stepcli.cache.parts.index import INDEX_LIMIT, decode_table, encode_table
from stepcli.cache.schema.clips import ClipRecord, Source
from stepcli.cache.storage.path import StoragePath
from stepcli.runtime.errors import DamagedStore

SOURCES = "sources.parquet"
UNKNOWN = Source("", "", -1, -1, "")
"""Stands for the source of a clip that was copied from a part without such a file."""

_TYPES = {str: pa.string(), int: pa.int64()}
_SCHEMA = pa.schema([(field.name, _TYPES[field.type]) for field in fields(Source)])  # type: ignore[index]


def encode_sources(records: Sequence[ClipRecord]) -> bytes:
    """The Parquet file of the sources of a part's clips, in the order of the tokens."""
    origins = [record.origin or UNKNOWN for record in records]
    columns = {name: [getattr(origin, name) for origin in origins] for name in _SCHEMA.names}
    return encode_table(pa.table(columns, schema=_SCHEMA))


def read_sources(root: StoragePath, part: str) -> dict[int, Source]:
    """Row of a clip in its part's index -> what the clip was made from.

    A clip whose source is not recorded has no entry.

    Raises:
        FileNotFoundError: the part is not there (any more).
        DamagedStore: the file is not what was written.
    """
    table = _read(root, part)
    if table is None:
        return {}
    columns = [column.to_pylist() for column in table.columns]
    rows = map(Source, *columns)
    return {number: source for number, source in enumerate(rows) if source != UNKNOWN}


def read_stretches(root: StoragePath, part: str) -> list[tuple[str, str]]:
    """(digest, segment) by row of a part's index, ("", "") where it is not recorded; [] for a part
    that records none: a tenth of `read_sources`' time.

    Raises:
        FileNotFoundError: the part is not there (any more).
        DamagedStore: the file is not what was written.
    """
    table = _read(root, part)
    if table is None:
        return []
    return list(zip(table["digest"].to_pylist(), table["segment"].to_pylist(), strict=True))


def _read(root: StoragePath, part: str) -> pa.Table | None:
    record = read_part_record(root, part)
    if SOURCES not in record.files:
        return None
    path = root / PARTS / part / SOURCES
    data = path.read(INDEX_LIMIT)
    if hashlib.sha256(data).hexdigest() != record.files[SOURCES].sha256:
        raise DamagedStore(
            f"{path}: its bytes do not match the digest in the part's record; run stepcli store "
            "repair"
        )
    table = decode_table(data, _SCHEMA, path, record.clips)
    if table.num_rows != record.clips:
        raise DamagedStore(f"{path}: expected {record.clips} rows, found {table.num_rows}")
    return table
