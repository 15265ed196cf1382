"""clips.parquet and classes.csv: what a user owns and may change, joined when read.

Both are changed by `change_table` alone: it reads the newest rows, applies a change to them and
writes the result, and no other change comes between. `tables.json` holds their digests; while one
is being replaced it lists the old digest and the new one, so that a crash between the two leaves
no false alarm.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

from stepcli.cache.schema.clips import ClassRow, ClipRow
from stepcli.cache.storage.handles import Seen
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.tables.digests import (
    ABSENT,
    CLASSES,
    CLIPS,
    DIGESTS,
    SEGMENTS,
    accepted_digests,
    note_digest,
    settle_digest,
)
from stepcli.cache.tables.swap import attempts, sweep_temporaries
from stepcli.cache.tables.table_check import is_readable, restore, seal_digests, wrong_tables
from stepcli.cache.tables.table_rows import (
    CLASS_TABLE,
    CLIP_TABLE,
    ROWS_LIMIT,
    SEGMENT_TABLE,
    Row,
    Table,
    parse_classes,
)
from stepcli.cache.tables.table_versions import FOLDER, has_versions, keep_version
from stepcli.runtime.errors import DamagedStore, StoreError

__all__ = [
    "ABSENT",
    "CLASSES",
    "CLASS_TABLE",
    "CLIPS",
    "CLIP_TABLE",
    "DIGESTS",
    "ROWS_LIMIT",
    "SEGMENTS",
    "SEGMENT_TABLE",
    "Row",
    "Table",
    "accepted_digests",
    "is_readable",
    "parse_classes",
    "restore",
    "seal_digests",
    "wrong_tables",
]


def read_table(root: StoragePath, table: Table[Row]) -> tuple[list[Row], str]:
    """All rows of a table, and the digest of its file; none when there is no table yet.

    Raises:
        DamagedStore: it cannot be read, or there was one and it is gone.
    """
    path = root / table.name
    for _ in range(2):  # it may be created between a look at it and one at what else tells of it
        try:
            data = path.read(table.limit)
        except FileNotFoundError:
            if not _is_lost(root, table.name):
                return [], ABSENT
            continue
        return table.decode(data, path), hashlib.sha256(data).hexdigest()
    raise _missing(root, table.name)


def _missing(root: StoragePath, name: str) -> DamagedStore:
    advice = (
        f"`stepcli store repair --store {root}` restores it from its last version"
        if has_versions(root, name)
        else "put it back from a backup, or run the same stepcli extract, which writes the data "
        "set's labels again"
    )
    return DamagedStore(f"{root / name}: this table is missing; {advice}")


def _is_lost(root: StoragePath, name: str) -> bool:
    """Whether a table that is missing has been there: its digest or a version of it shows that."""
    digests = accepted_digests(root)
    if digests:
        return ABSENT not in digests.get(name, [ABSENT])
    return has_versions(root, name)


def change_table(
    root: StoragePath,
    table: Table[Row],
    change: Callable[[list[Row]], Sequence[Row]],
    *,
    expected: str = "",
) -> str:
    """Read the newest rows of a table, change them, and write them: no other change is lost.

    Args:
        root: the store.
        table: `CLIP_TABLE` or `CLASS_TABLE`.
        change: from the rows as they are to those that are to be; called again where another
            change came between, so it must follow from its argument.
        expected: digest that the table must still have; "": any.

    Returns:
        Digest of the table now. Nothing is written where no row differs.

    Raises:
        UsageError: rows that cannot be stored.
        StoreError: the table has not the digest expected, or others change it all the time.
        DamagedStore: the table or tables.json is not what was written, or it is gone.
    """
    path = root / table.name
    with root.exclusive():
        for _ in attempts(path):
            seen = path.look(table.limit)
            rows = [] if seen.content is None else table.decode(seen.content, path)
            if (
                seen.content is None
                and has_versions(root, table.name)
                and _is_lost(root, table.name)
            ):
                if path.look(table.limit).content is None:
                    raise _missing(root, table.name)  # its versions hold what would be lost
                continue
            changed = list(change(list(rows)))
            if changed == rows and seen.digest in accepted_digests(root).get(table.name, [ABSENT]):
                return seen.digest
            content = table.encode(changed)
            if expected and expected != seen.digest:
                raise StoreError(
                    f"{path} was changed by another process since it was read; read it again, "
                    "and then change it"
                )
            if _replace(root, table.name, seen, content):
                return hashlib.sha256(content).hexdigest()
    raise AssertionError("attempts() ends with an error")


def _replace(root: StoragePath, name: str, seen: Seen, content: bytes) -> bool:
    """Put `content` in place of what was seen; False where that is there no more."""
    if seen.content is not None:  # also what a user wrote with another program
        keep_version(root, name, seen.content)
    fresh = hashlib.sha256(content).hexdigest()
    noted = note_digest(root, name, fresh, seen.digest)
    if not (root / name).swap(content, seen):
        return False
    # After the table: what was refused never was a version of it.
    keep_version(root, name, content)
    settle_digest(root, name, fresh, noted)
    for folder in (root, root / FOLDER):
        sweep_temporaries(folder)
    return True


def read_clips(root: StoragePath) -> list[ClipRow]:
    """All clips of the data set, in the table's order; none when there is no table yet.

    Raises:
        DamagedStore: it cannot be read, or there was one and it is gone.
    """
    return read_table(root, CLIP_TABLE)[0]


def add_clips(root: StoragePath, rows: Iterable[ClipRow]) -> list[ClipRow]:
    """Add the clips that the table lacks; lines that are there belong to the user and stay.

    Returns:
        Those of `rows` whose line in the table says something else.
    """
    rows = list(rows)
    differing: list[ClipRow] = []

    def add(present: list[ClipRow]) -> list[ClipRow]:
        known = {row.id: row for row in present}
        differing[:] = [row for row in rows if known.get(row.id, row) != row]
        return [*present, *(row for row in rows if row.id not in known)]

    seen = (root / CLIPS).look(CLIP_TABLE.limit)
    if seen.content is not None:  # of a hundred hosts that start, one has to write
        present = CLIP_TABLE.decode(seen.content, root / CLIPS)
        if len(add(present)) == len(present):
            return differing
    change_table(root, CLIP_TABLE, add)
    return differing


def add_classes(root: StoragePath, rows: Sequence[ClassRow]) -> None:
    """Write the classes where the table has none; lines that are there belong to the user."""
    if rows:
        change_table(root, CLASS_TABLE, lambda present: present or list(rows))
