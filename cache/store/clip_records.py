"""What extraction found out about clips, read with as few files as may be."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from stepcli.cache.parts.commit import PARTS
from stepcli.cache.parts.index import RECORD_SCHEMA
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.consolidated_records import NO_RECORDS, load_records, save_records
from stepcli.cache.store.derived_files import pays_to_save
from stepcli.cache.store.record_columns import RecordColumns
from stepcli.cache.store.snapshot import Snapshot, read_index
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.parquet_tables import rows_at

ALONE = 8
"""Parts whose indexes are read one by one before the records of all parts are looked for."""
KEPT_BYTES = 128 << 20
"""Of records of single parts, kept for the next question; those of SSv2 take a third of it."""


class RecordReader:
    """Reads the records of a store's clips, each part once: parts never change.

    Threads may share it: at worst, two of them read the same part.
    """

    def __init__(self, root: StoragePath, manifest: Manifest, *, saves: bool) -> None:
        self._root = root
        self._manifest = manifest
        self._saves = saves
        self.forget()

    def forget(self) -> None:
        """Drop what is kept of parts that may be gone; look for newer consolidated records."""
        self._kept: dict[str, pa.Table] = {}
        self._shared = NO_RECORDS
        self._looked = False
        self._reads = 0

    def read(self, snapshot: Snapshot, places: np.ndarray) -> RecordColumns:
        """Records of clips, in the order of `places`.

        Args:
            snapshot: where the store's clips lie.
            places: [n] positions in the snapshot.

        Raises:
            FileNotFoundError: a part is gone.
            DamagedStore: an index is not what was written, or has another clip in a row.
        """
        try:
            return self._gather(snapshot, places)
        except _OtherClip:
            if self._shared is NO_RECORDS:
                raise
            self._shared = NO_RECORDS  # the parts are the truth
            return self._gather(snapshot, places)

    def _gather(self, snapshot: Snapshot, places: np.ndarray) -> RecordColumns:
        parts, part_of = np.unique(snapshot.part_of[places], return_inverse=True)
        names = [snapshot.parts[part] for part in parts.tolist()]
        alone = self._alone(snapshot, names)
        shared = self._shared.rows
        ranges = [range(len(alone[n])) if n in alone else shared[n] for n in names]
        row_of = snapshot.row_of[places].astype(np.int64)
        count = np.array([len(rows) for rows in ranges], np.int64)
        beyond = np.flatnonzero(row_of >= count[part_of])
        if len(beyond):
            raise self._other_clip(snapshot, places[beyond[0]])
        row_of += np.array([rows.start for rows in ranges], np.int64)[part_of]
        is_alone = np.array([name in alone for name in names], bool)[part_of]
        order = [np.flatnonzero(~is_alone)]
        pieces = [rows_at(self._shared.table, row_of[order[0]])]
        for part in np.unique(part_of[is_alone]).tolist():
            order.append(np.flatnonzero(part_of == part))
            pieces.append(rows_at(alone[names[part]], row_of[order[-1]]))
        found = pieces[0]
        if len(pieces) > 1:
            back = np.argsort(np.concatenate(order))
            found = rows_at(pa.concat_tables(pieces).combine_chunks(), back)
        ids = found["id"].to_pylist()
        asked = [snapshot.ids[place] for place in places.tolist()]
        if ids != asked:
            wrong = next(k for k, clip in enumerate(asked) if ids[k] != clip)
            raise self._other_clip(snapshot, places[wrong])
        return RecordColumns(found)

    def _other_clip(self, snapshot: Snapshot, place: int) -> "_OtherClip":
        part = self._root / PARTS / snapshot.parts[snapshot.part_of[place]]
        return _OtherClip(
            f"{part}: clip {snapshot.ids[place]!r} is not where the consolidated index has it; "
            "delete the store's .cache"
        )

    def _alone(self, snapshot: Snapshot, names: Sequence[str]) -> dict[str, pa.Table]:
        """The records of those parts that the shared ones lack; reads what is not kept."""
        unknown = [name for name in names if name not in self._kept]
        if not self._looked and self._reads + len(unknown) > ALONE:
            self._looked = True
            self._shared = load_records(self._root, self._manifest, snapshot.parts)
        missing = [name for name in unknown if name not in self._shared.rows]
        self._reads += len(missing)
        tables = {
            name: read_index(self._root, name, self._manifest).select(RECORD_SCHEMA.names)
            for name in missing
        }
        if self._saves and pays_to_save(len(missing), len(snapshot.parts)):
            known = {**self._kept, **tables}
            save_records(self._root, self._manifest, snapshot.parts, known, self._shared)
        if len(missing) > ALONE:
            self._shared = self._shared.with_parts(tables)
            tables = {}
        kept = {name: self._kept[name] for name in names if name not in unknown}
        if tables:
            self._keep(tables)
        return {**kept, **tables}

    def _keep(self, tables: dict[str, pa.Table]) -> None:
        kept = {**self._kept, **tables}
        size = sum(table.nbytes for table in kept.values())
        for name in list(kept):  # the oldest first
            if size <= KEPT_BYTES:
                break
            size -= kept.pop(name).nbytes
        self._kept = kept


class _OtherClip(DamagedStore):
    """A row is of another clip than the one looked for."""
