"""clips.parquet and classes.csv: what a user owns and may change, joined when read.

Both are replaced whole. `tables.json` holds their digests; while one is being replaced it lists
the old digest and the new one, so that a crash between the two renames leaves no false alarm.
"""

import csv
import fcntl
import hashlib
import io
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Literal, get_args

import pyarrow as pa

from stepcli.cache.clips import ClassKind, ClassRow, ClipRow
from stepcli.cache.durable import (
    SEALED_LIMIT,
    Place,
    create_synced,
    delete_file,
    read_regular,
    replace_synced,
    seal,
    unseal,
)
from stepcli.cache.errors import DamagedStore, UsageError
from stepcli.cache.parts.index import (
    INDEX_LIMIT,
    TEXT_LIMIT,
    decode_table,
    encode_table,
    is_storable,
)
from stepcli.cache.remote.objects import ObjectPath
from stepcli.cache.table_versions import keep_version

CLIPS = "clips.parquet"
CLASSES = "classes.csv"
DIGESTS = "tables.json"
LOCK = ".tables.lock"
LOCK_SECONDS = 120.0
ROWS_LIMIT = 1 << 26
CLASSES_LIMIT = 1 << 20
ABSENT = "absent"
"""Stands for the digest of a table that is not there yet."""

SCHEMA = pa.schema([(field.name, pa.string()) for field in fields(ClipRow)])
_KINDS: dict[str, ClassKind] = {kind: kind for kind in get_args(ClassKind)}


def read_clips(root: Place) -> list[ClipRow]:
    """All clips of the data set, in the table's order; none when there is no table yet."""
    path = root / CLIPS
    try:
        data = read_regular(path, INDEX_LIMIT)
    except FileNotFoundError:
        return []
    # The user may have written it with other tools, which compress.
    table = decode_table(data, SCHEMA, path, ROWS_LIMIT, compressed=True)
    return [ClipRow(*cells) for cells in zip(*(c.to_pylist() for c in table.columns), strict=True)]


def replace_clips(root: Place, rows: Sequence[ClipRow]) -> None:
    """Replace the clips table.

    Raises:
        UsageError: an id is empty or occurs twice.
    """
    with _exclusive(root):
        _write_clips(root, rows)


def add_clips(root: Place, rows: Iterable[ClipRow]) -> list[ClipRow]:
    """Add the clips that the table lacks; lines that are there belong to the user and stay.

    Returns:
        Those of `rows` whose line in the table says something else.
    """
    rows = list(rows)
    known = {row.id: row for row in read_clips(root)}
    if all(row.id in known for row in rows):  # of a hundred hosts that start, one has to wait
        return [row for row in rows if known[row.id] != row]
    with _exclusive(root):
        known = {row.id: row for row in read_clips(root)}
        differing = [row for row in rows if known.get(row.id, row) != row]
        fresh = [row for row in rows if row.id not in known]
        if fresh:
            _write_clips(root, [*known.values(), *fresh])
    return differing


def read_classes(root: Place) -> list[ClassRow]:
    """The classes, by index; none when there is no table yet.

    Raises:
        DamagedStore: the file is not such a table.
    """
    path = root / CLASSES
    try:
        text = read_regular(path, SEALED_LIMIT).decode()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise DamagedStore(f"{path}: not UTF-8 text ({error.reason})") from error
    return sorted(parse_classes(text, path), key=lambda row: row.index)


def parse_classes(text: str, place: Place | str) -> list[ClassRow]:
    """Read the lines of a classes.csv."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    names = [field.name for field in fields(ClassRow)]
    rows = []
    try:
        if reader.fieldnames is None or list(reader.fieldnames) != names:
            raise DamagedStore(f"{place}: expected the columns {','.join(names)}")
        for line in reader:
            if None in line or None in line.values():
                raise DamagedStore(f"{place}: line {reader.line_num} has not {len(names)} cells")
            kind = _KINDS.get(line["kind"])
            if kind is None:
                raise DamagedStore(
                    f"{place}: line {reader.line_num}: kind {line['kind']!r}, "
                    f"expected one of {', '.join(map(repr, _KINDS))}"
                )
            if not 0 <= (index := int(line["index"])) < CLASSES_LIMIT:
                raise ValueError(f"index {index}, expected 0 to {CLASSES_LIMIT - 1}")
            rows.append(
                ClassRow(
                    name=line["name"],
                    index=index,
                    partner=line["partner"],
                    kind=kind,
                    mirror=line["mirror"],
                    prompt=line["prompt"],
                )
            )
    except (csv.Error, ValueError) as error:
        raise DamagedStore(f"{place}: line {reader.line_num}: {error}") from error
    try:
        _require_distinct_classes(rows)
    except UsageError as error:
        raise DamagedStore(f"{place}: {error}") from error
    return rows


def replace_classes(root: Place, rows: Sequence[ClassRow]) -> None:
    """Replace the classes table.

    Raises:
        UsageError: a name or an index occurs twice, or a text cannot be stored.
    """
    _require_distinct_classes(rows)
    for row in rows:
        if not all(is_storable(text) for text in (row.name, row.partner, row.mirror, row.prompt)):
            raise UsageError(
                f"class {row.name!r}: texts must be UTF-8 of at most {TEXT_LIMIT} bytes"
            )
    text = io.StringIO()
    names = [field.name for field in fields(ClassRow)]
    # Python's csv leaves a lone carriage return without quotes, and then cannot read it.
    returns = any("\r" in str(cell) for row in rows for cell in asdict(row).values())
    quoting: Literal[0, 1] = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(text, names, lineterminator="\n", quoting=quoting)
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    with _exclusive(root):
        _replace(root, CLASSES, text.getvalue().encode())


def accepted_digests(root: Place) -> dict[str, list[str]]:
    """sha256 by table: what `verify` accepts, more than one only after a crash."""
    path = root / DIGESTS
    try:
        content = unseal(read_regular(path, SEALED_LIMIT), path)
    except FileNotFoundError:
        return {}
    digests: dict[str, list[str]] = {}
    for name in (CLIPS, CLASSES):
        listed = content.get(name, [ABSENT])
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise DamagedStore(f"{path}: {name}: expected a list of digests")
        digests[name] = listed
    return digests


def _write_clips(root: Place, rows: Sequence[ClipRow]) -> None:
    for row in rows:
        if not all(is_storable(getattr(row, name)) for name in SCHEMA.names):
            raise UsageError(
                f"clip {row.id!r}: id, label, split, group and view must be UTF-8 of at most "
                f"{TEXT_LIMIT} bytes each"
            )
    ids = [row.id for row in rows]
    if "" in ids:
        raise UsageError("a clip without an id; give every line of the clips table one")
    _require_distinct(ids, "clip id")
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    _replace(root, CLIPS, encode_table(pa.table(columns, schema=SCHEMA)))


def is_readable(root: Place, name: str) -> bool:
    """Whether a table is there and can be read, whoever wrote it."""
    try:
        if name == CLIPS:
            read_clips(root)
        else:
            read_classes(root)
        read_regular(root / name, INDEX_LIMIT)
    except (FileNotFoundError, DamagedStore):
        return False
    return True


def restore(root: Place, name: str, content: bytes) -> None:
    """Put an earlier content of a table back."""
    with _exclusive(root):
        _replace(root, name, content)


def seal_digests(root: Place) -> None:
    """Write tables.json anew for the tables as they are; one that cannot be read counts as none."""
    with _exclusive(root):
        digests = {CLIPS: [ABSENT], CLASSES: [ABSENT]}
        for name in digests:
            if is_readable(root, name):
                data = read_regular(root / name, INDEX_LIMIT)
                digests[name] = [hashlib.sha256(data).hexdigest()]
        replace_synced(root / DIGESTS, seal(digests))


def _replace(root: Place, name: str, content: bytes) -> None:
    keep_version(root, name, content)
    digests = accepted_digests(root)
    fresh = hashlib.sha256(content).hexdigest()
    both = [*digests.get(name, [ABSENT]), fresh]
    replace_synced(root / DIGESTS, seal({**digests, name: both}))
    replace_synced(root / name, content)
    replace_synced(root / DIGESTS, seal({**digests, name: [fresh]}))


def _require_distinct_classes(rows: Sequence[ClassRow]) -> None:
    for key in ("name", "index"):
        _require_distinct([getattr(row, key) for row in rows], f"class {key}")


def _require_distinct(values: Sequence[object], what: str) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise UsageError(f"{what} {value!r} occurs twice; it must name one line")
        seen.add(value)


@contextmanager
def _exclusive(root: Place) -> Iterator[None]:
    """One at a time on this table: read, change, replace. Parts need no such lock."""
    if isinstance(root, ObjectPath):
        with _exclusive_object(root / LOCK):
            yield
        return
    fd = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def _exclusive_object(lock: ObjectPath) -> Iterator[None]:
    """Object storage has no locks, but creates an object only once: whoever did holds it.

    A lock of `LOCK_SECONDS` is taken for that of a process that died.
    """
    mine = f"{time.time()} {uuid.uuid4().hex}".encode()
    pause = 0.05
    while not create_synced(lock, mine):
        try:
            theirs = lock.read(SEALED_LIMIT)
            since = float(theirs.split()[0])
        except FileNotFoundError:
            continue
        except (ValueError, IndexError):
            since = 0.0
        if theirs == mine:  # created by a request whose answer was lost, and which was repeated
            break
        if time.time() - since > LOCK_SECONDS:
            delete_file(lock)
        time.sleep(pause)
        pause = min(2 * pause, 2.0)  # each look is three requests, and many hosts may wait
    try:
        yield
    finally:
        delete_file(lock)
