"""tables.json: the digests that each table may have, more than one only while it is changed.

A writer notes the digest of what it is about to write, writes, and then drops what it has seen
listed before: nobody can write any of that any more, since a change is refused that another one
has overtaken.
"""

from collections.abc import Callable

from stepcli.cache.storage.handles import ABSENT
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.tables.swap import attempts
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.sealed_json import SEALED_LIMIT, seal, unseal

__all__ = ["ABSENT", "CLASSES", "CLIPS", "DIGESTS", "SEGMENTS"]

CLIPS = "clips.parquet"
CLASSES = "classes.csv"
SEGMENTS = "segments.parquet"
DIGESTS = "tables.json"
MOST = 64
"""Digests kept of one table, should writers die between noting and writing again and again."""


def accepted_digests(root: StoragePath) -> dict[str, list[str]]:
    """sha256 by table: what `verify` accepts; {} where there is no tables.json.

    Raises:
        DamagedStore: it is not what was written.
    """
    path = root / DIGESTS
    try:
        return _parse(path.read(SEALED_LIMIT), path)
    except FileNotFoundError:
        return {}


def note_digest(root: StoragePath, table: str, fresh: str, present: str) -> list[str]:
    """Accept a digest, before the table gets it; returns all that are accepted then.

    Args:
        root: the store.
        table: name of its file.
        fresh: what it is about to have.
        present: what it has, for a store without a list.
    """

    def note(digests: dict[str, list[str]]) -> list[str]:
        listed = digests.get(table, [ABSENT] if digests else [present])
        return [*listed[-MOST:], fresh]

    return _change(root, table, note)


def settle_digest(root: StoragePath, table: str, fresh: str, noted: list[str]) -> None:
    """Drop what was accepted when `fresh` was noted, and can no longer be written."""

    def settle(digests: dict[str, list[str]]) -> list[str]:
        later = list(digests.get(table, []))
        for digest in noted:
            if digest in later:
                later.remove(digest)
        return [fresh, *later]

    _change(root, table, settle)


def replace_digests(root: StoragePath, digests_of: Callable[[], dict[str, list[str]]]) -> None:
    """Write tables.json anew, whatever is there, for the tables as they are."""
    path = root / DIGESTS
    for _ in attempts(path):
        seen = path.look(SEALED_LIMIT)
        if path.swap(seal(digests_of()), seen):
            return


def _change(
    root: StoragePath, table: str, change: Callable[[dict[str, list[str]]], list[str]]
) -> list[str]:
    path = root / DIGESTS
    for _ in attempts(path):
        seen = path.look(SEALED_LIMIT)
        digests = {} if seen.content is None else _parse(seen.content, path)
        listed = change(digests)
        if path.swap(seal({**digests, table: listed}), seen):
            return listed
    raise AssertionError("attempts() ends with an error")


def _parse(data: bytes, path: StoragePath) -> dict[str, list[str]]:
    content = unseal(data, path)
    digests: dict[str, list[str]] = {}
    # Only stores of recordings have segments.
    for name in (CLIPS, CLASSES, *([SEGMENTS] if SEGMENTS in content else [])):
        listed = content.get(name, [ABSENT])
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise DamagedStore(f"{path}: {name}: expected a list of digests")
        digests[name] = listed
    return digests
