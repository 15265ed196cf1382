"""Take clips out of training without touching a token, and a way back.

A probe takes the clips of the clips table. A clip whose line is taken out of it stays in its part
and is trained and tested on no more, whatever split files say.
"""

import csv
import io
import uuid
from collections.abc import Collection
from dataclasses import fields

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.store import Store
from stepcli.runtime.files import disk_errors

FOLDER = "pruned"
COLUMNS = [field.name for field in fields(ClipRow)]


def take_out(store: Store, stored_ids: Collection[str]) -> tuple[list[ClipRow], StoragePath | None]:
    """Remove clips' lines from the clips table, and keep those of stored clips in a file.

    Returns:
        The lines; and the file `pruned/<number>.csv`, which `stepcli store labels --from` takes
        back. No file where the table had no line of a stored clip.
    """
    wanted = set(stored_ids)
    taken: list[ClipRow] = []

    def without(rows: list[ClipRow]) -> list[ClipRow]:
        taken[:] = [row for row in rows if row.id in wanted]
        return [row for row in rows if row.id not in wanted]

    kept = [row for row in store.clips() if row.id in wanted and row.id in store]
    file = _keep(store.path, kept) if kept else None  # before the lines go
    if wanted:
        store.change_clips(without)
    return taken, file


def _keep(root: StoragePath, rows: list[ClipRow]) -> StoragePath:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, name) for name in COLUMNS] for row in rows)
    with disk_errors(root):
        file = (root / FOLDER).make_folder() / f"{uuid.uuid4().hex[:12]}.csv"
        file.create(text.getvalue().encode())
    return file
