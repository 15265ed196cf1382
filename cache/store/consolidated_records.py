"""One table of what extraction found out about all clips, so that 900 parts need not be asked.

`.cache/records-<sha256>.parquet` holds the record columns of the parts' indexes, one part behind
the other. It is written with the consolidated index and read when the metadata of clips of many
parts is asked for, never on opening. Parts that it lacks are read one by one.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stepcli.cache.parts.index import RECORD_SCHEMA, decode_table, encode_table
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.derived_files import (
    MOST_CLIPS,
    derived_files,
    read_derived,
    write_derived,
)
from stepcli.runtime.errors import DamagedStore, StorageError
from stepcli.runtime.parquet_tables import LARGEST


@dataclass(frozen=True)
class PartRecords:
    """Records of the clips of several parts."""

    table: pa.Table
    """Columns as `RECORD_SCHEMA`; per part its rows in order, one part behind the other."""
    rows: Mapping[str, range]
    """Where the rows of each part lie in the table."""

    def of(self, part: str) -> pa.Table:
        """The rows of one part."""
        mine = self.rows[part]
        return self.table.slice(mine.start, len(mine))

    def with_parts(self, tables: Mapping[str, pa.Table]) -> "PartRecords":
        """These and those of further parts, in memory of their own."""
        whole = join_parts({**{name: self.of(name) for name in self.rows}, **tables})
        return PartRecords(whole.table.combine_chunks(), whole.rows)


NO_RECORDS = PartRecords(pa.Table.from_batches([], schema=RECORD_SCHEMA), {})


def join_parts(tables: Mapping[str, pa.Table]) -> PartRecords:
    """Put the record columns of parts' indexes behind each other, without copying them."""
    rows, end = {}, 0
    for name, table in tables.items():
        rows[name] = range(end, end + table.num_rows)
        end = rows[name].stop
    pieces = [table.select(RECORD_SCHEMA.names) for table in tables.values()]
    return PartRecords(pa.concat_tables([NO_RECORDS.table, *pieces]), rows)


def load_records(root: StoragePath, manifest: Manifest, parts: Collection[str]) -> PartRecords:
    """The kept table that covers most of `parts`; an empty one when there is none."""
    best, covered = NO_RECORDS, 0
    current = set(parts)
    for path in derived_files(root, "records"):
        try:
            found = _read(path, manifest)
        except (DamagedStore, StorageError, FileNotFoundError):
            continue  # `verify` reports it; the writer of a newer one has removed it
        if (count := len(current & found.rows.keys())) > covered:
            best, covered = found, count
    return best


def save_records(
    root: StoragePath,
    manifest: Manifest,
    parts: Iterable[str],
    tables: Mapping[str, pa.Table],
    known: PartRecords,
) -> None:
    """Keep the records of parts for the next to ask; where that cannot be written, do without.

    Args:
        root: the store.
        manifest: its own.
        parts: names of those in the store; what is not among them is dropped.
        tables: indexes of some, by name.
        known: records of others.
    """
    pieces = {}
    for name in sorted(parts):
        if name in tables:
            pieces[name] = tables[name]
        elif name in known.rows:
            pieces[name] = known.of(name)
    whole = join_parts(pieces)
    if whole.table.nbytes > LARGEST:  # no reader would take it
        return
    counts = [[name, len(rows)] for name, rows in whole.rows.items()]
    about = {"spec": manifest.spec_digest, "parts": counts}
    data = encode_table(whole.table.replace_schema_metadata({"stepcli": json.dumps(about)}))
    write_derived(root, "records", data)


def _read(path: StoragePath, manifest: Manifest) -> PartRecords:
    data = read_derived(path)
    values = min(MOST_CLIPS * manifest.spec.frames, LARGEST // 8)
    table = decode_table(data, RECORD_SCHEMA, path, MOST_CLIPS, list_values=values)
    try:
        about = json.loads((table.schema.metadata or {})[b"stepcli"])
        spec, counts = about["spec"], {str(name): int(count) for name, count in about["parts"]}
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DamagedStore(f"{path}: does not say which parts it is of; delete it") from error
    if spec != manifest.spec_digest:
        raise DamagedStore(f"{path}: of another store; delete it")
    if min(counts.values(), default=0) < 0 or sum(counts.values()) != table.num_rows:
        raise DamagedStore(f"{path}: its parts do not have its clips; delete it")
    ends = np.cumsum(list(counts.values())).tolist()
    rows = {name: range(end - counts[name], end) for name, end in zip(counts, ends, strict=True)}
    return PartRecords(table.replace_schema_metadata(None), rows)
