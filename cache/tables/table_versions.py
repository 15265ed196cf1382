"""Earlier contents of the tables: restore what a user overwrote or a disk damaged.

`versions/clips-<number>-<sha256>.parquet` and `versions/classes-<number>-<sha256>.csv`: the one
whose digest tables.json accepts is what the table holds now, so a damaged table is restored from
it.
"""

import hashlib
import re
from collections.abc import Collection

from stepcli.cache.storage.path import StoragePath
from stepcli.runtime.errors import DamagedStore

FOLDER = "versions"
KEPT = 4
"""Versions of a table, the present one included."""
LIMIT = 1 << 30
"""Bytes: no table is larger."""

_NAME = re.compile(r"(clips|classes|segments)-(\d{6,12})-([0-9a-f]{64})(\.parquet|\.csv)")


def keep_version(root: StoragePath, table: str, content: bytes) -> None:
    """Keep what a table is about to hold; the oldest beyond `KEPT` goes."""
    digest = hashlib.sha256(content).hexdigest()
    older = version_names(root, table)
    if older and _digest_of(older[-1]) == digest:
        return
    folder = (root / FOLDER).make_folder()
    stem, _, suffix = table.rpartition(".")
    number = 1 + (int(older[-1].split("-")[1]) if older else 0)
    (folder / f"{stem}-{number:06d}-{digest}.{suffix}").create(content)
    for name in older[: max(0, len(older) + 1 - KEPT)]:
        (root / FOLDER / name).remove()


def version_names(root: StoragePath, table: str = "") -> list[str]:
    """File names of the versions of one table, oldest first; without a name of both tables."""
    stem = table.rpartition(".")[0]
    found = [match for name in (root / FOLDER).child_names() if (match := _NAME.fullmatch(name))]
    wanted = [match for match in found if stem in ("", match[1])]
    return [match[0] for match in sorted(wanted, key=lambda match: (match[1], int(match[2])))]


def read_version(root: StoragePath, name: str) -> bytes:
    """One version's content.

    Raises:
        DamagedStore: it is not what was written.
    """
    path = root / FOLDER / name
    data = path.read(LIMIT)
    if hashlib.sha256(data).hexdigest() != _digest_of(name):
        raise DamagedStore(f"{path}: its bytes do not match its name; delete it")
    return data


def newest_intact(root: StoragePath, table: str, accepted: Collection[str] = ()) -> bytes | None:
    """The newest version of a table that is what was written; None when there is none.

    Args:
        root: the store.
        table: name of its file.
        accepted: digests that the table may have; a version with one of them comes first, since
            the numbers of two that were written at once may say the wrong order.
    """
    newest_first = list(reversed(version_names(root, table)))
    for name in sorted(newest_first, key=lambda name: _digest_of(name) not in accepted):
        try:
            return read_version(root, name)
        except (DamagedStore, FileNotFoundError):
            continue
    return None


def has_versions(root: StoragePath, table: str) -> bool:
    """Whether a table has been there: some content of it was kept."""
    return bool(version_names(root, table))


def is_version(root: StoragePath, table: str, digest: str) -> bool:
    """Whether a table once had this content."""
    return any(_digest_of(name) == digest for name in version_names(root, table))


def _digest_of(name: str) -> str:
    return name.partition(".")[0].rpartition("-")[2]
