"""Whether the tables are what was written, and how they become so again."""

import hashlib
from collections.abc import Iterator

from stepcli.cache.parts.damaged import keep_aside, move_aside
from stepcli.cache.schema.clips import ClassRow, ClipRow, SegmentRow
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.tables.digests import (
    ABSENT,
    CLASSES,
    CLIPS,
    DIGESTS,
    SEGMENTS,
    accepted_digests,
    note_digest,
    replace_digests,
    settle_digest,
)
from stepcli.cache.tables.swap import attempts
from stepcli.cache.tables.table_rows import CLASS_TABLE, CLIP_TABLE, SEGMENT_TABLE, Table
from stepcli.cache.tables.table_versions import has_versions, is_version
from stepcli.runtime.errors import DamagedStore, StorageError, StoreError

NAMES = (CLIPS, CLASSES, SEGMENTS)


def is_readable(root: StoragePath, name: str) -> bool:
    """Whether a table exists and can be read."""
    table = _table(name)
    try:
        table.decode((root / name).read(table.limit), root / name)
    except (FileNotFoundError, DamagedStore):
        return False
    return True


def restore(root: StoragePath, name: str, content: bytes) -> bool:
    """Put an earlier content of a table back; False where it can be read meanwhile."""
    table = _table(name)
    with root.exclusive():
        for _ in attempts(root / name):
            try:
                seen = (root / name).look(table.limit)
            except StorageError:
                raise
            except DamagedStore:  # a link, or larger than any table
                move_aside(root, name)
                continue
            if seen.content is not None and is_readable(root, name):
                return False
            fresh = hashlib.sha256(content).hexdigest()
            noted = note_digest(root, name, fresh, seen.digest)
            if seen.content is not None:  # perhaps an edit of the user's that went wrong
                keep_aside(root, name, seen.content)
            if (root / name).swap(content, seen):
                settle_digest(root, name, fresh, noted)
                return True
    raise AssertionError("attempts() ends with an error")


def seal_digests(root: StoragePath) -> None:
    """Write tables.json anew for the tables as they are; one that cannot be read counts as none."""

    def digests_of() -> dict[str, list[str]]:
        found = {CLIPS: [ABSENT], CLASSES: [ABSENT]}
        for name in NAMES:
            if is_readable(root, name):
                data = (root / name).read(_table(name).limit)
                found[name] = [hashlib.sha256(data).hexdigest()]
        return found

    with root.exclusive():
        replace_digests(root, digests_of)


def wrong_tables(root: StoragePath) -> Iterator[tuple[str, str]]:
    """What is wrong with the tables and tables.json: (file, text). Changes meanwhile are no fault.

    Two looks must agree before anything counts as wrong: a change is several writes.

    Raises:
        StorageError: one could not be read.
    """
    try:
        present = [name for name in NAMES if _present(root, name) or has_versions(root, name)]
        if not accepted_digests(root) and present:
            yield DIGESTS, "missing"
    except StorageError:
        raise
    except StoreError as error:
        yield DIGESTS, str(error)
    for name in NAMES:
        last: tuple[object, ...] = ()
        for _ in attempts(root / name):
            found = _look_at(root, name)
            if not found[0] or found == last:
                break
            last = found
        if found[0]:
            yield name, found[0]


def _look_at(root: StoragePath, name: str) -> tuple[str, list[str] | None, str]:
    """(what is wrong, digests accepted, digest found); "" where nothing is."""
    accepted: list[str] | None
    try:
        accepted = accepted_digests(root).get(name)
    except StoreError:
        accepted = None  # said of tables.json already
    try:
        data = (root / name).read(_table(name).limit)
    except FileNotFoundError:
        lost = has_versions(root, name) if not accepted else ABSENT not in accepted
        return "missing" if lost else "", accepted, ABSENT
    except StorageError:
        raise
    except StoreError as error:
        return str(error), accepted, ""
    digest = hashlib.sha256(data).hexdigest()
    known = is_version(root, name, digest) if not accepted else digest in accepted
    text = (
        f"its bytes do not match the digest in {DIGESTS}; if you edited it on purpose, take it "
        "over with stepcli store labels --from"
    )
    return "" if known else text, accepted, digest


def _present(root: StoragePath, name: str) -> bool:
    try:
        (root / name).read(_table(name).limit)
    except FileNotFoundError:
        return False
    except StoreError:
        return True
    return True


def _table(name: str) -> Table[ClipRow] | Table[ClassRow] | Table[SegmentRow]:
    if name == SEGMENTS:
        return SEGMENT_TABLE
    return CLIP_TABLE if name == CLIPS else CLASS_TABLE
