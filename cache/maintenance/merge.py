"""Put the parts of several stores of one spec into one of them, without copying a byte of tokens
where the file system has hard links."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stepcli.cache.maintenance.segments import add_segments
from stepcli.cache.parts.commit import (
    PARTS,
    RECORD,
    Staging,
    list_parts,
    publish_part,
    read_part_record,
    sweep_staging,
)
from stepcli.cache.parts.files import wrong_file
from stepcli.cache.parts.record import PartRecord
from stepcli.cache.parts.tombstones import buried_parts
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.spec import require_same_spec
from stepcli.cache.storage.local import LocalPath
from stepcli.cache.storage.path import Location, StoragePath
from stepcli.cache.store.snapshot import read_index
from stepcli.cache.store.store import Store, open_store
from stepcli.cache.tables.failures import FailureLog, read_failures
from stepcli.cache.tables.texts import copy_texts
from stepcli.runtime.errors import DamagedStore, StoreNotFound, UsageError
from stepcli.runtime.files import disk_errors


@dataclass
class MergePlan:
    """What a merge does, or did."""

    parts: dict[str, str] = field(default_factory=dict)
    """Part to the store that it comes from."""
    clips: int = 0
    """Clips in those parts."""
    bytes: int = 0
    copied_bytes: int = 0
    """What could not be linked: the stores lie on different file systems, or on a URL."""
    rows_added: int = 0
    """New lines of the clips table."""
    rows_differing: list[str] = field(default_factory=list)
    """Clips whose line in the target says something else; the target's stays."""
    texts_added: list[str] = field(default_factory=list)
    """Text towers whose embeddings were copied."""
    texts_differing: list[str] = field(default_factory=list)
    """Text towers that the target has with other embeddings; the target's stay."""


def merge_stores(
    target: Location,
    sources: Sequence[Location],
    *,
    dry_run: bool = False,
    on_part: Callable[[int, int], None] | None = None,
) -> MergePlan:
    """Add every part of `sources` that `target` lacks.

    The sources stay as they are. Running it again, or after it was killed, adds what is missing.

    Args:
        target: folder or URL of the store to add to.
        sources: stores of the same spec, data set and format.
        dry_run: only say what would be done.
        on_part: called with (parts added, parts in all).

    Raises:
        StoreNotFound: a store is not there, the target too: it is added to.
        SpecMismatch: a source was written with another spec; nothing was merged.
        UsageError: another data set or format; nothing was merged.
    """
    try:
        into = open_store(target)
    except StoreNotFound as error:
        raise StoreNotFound(
            f"{error}. Parts are added to the first store: name one of the others first, or copy "
            f"it there with stepcli store convert {sources[0]} {target}"
        ) from error
    root = into.path
    plan = MergePlan()
    records: dict[str, PartRecord] = {}
    """Of the parts that are to be added, or were."""
    added: set[str] = set()
    while True:
        others = [_compatible(into, path) for path in sources]
        try:
            found = _lacking(root, others)
            records |= {name: record for name, (record, _) in found.items()}
            plan.parts |= {name: str(other.path) for name, (_, other) in found.items()}
            if not dry_run:
                with disk_errors(root):
                    _add_parts(into, found, plan, added, on_part)
            break
        except _PartGone:  # a compact took it away: its clips are in a part not listed yet
            plan.parts = {name: plan.parts[name] for name in plan.parts if name in added}
    plan.clips = sum(records[name].clips for name in plan.parts)
    plan.bytes = sum(_size(records[name]) for name in plan.parts)
    known = {row.id: row for row in into.clips()}
    for other in others:
        for row in other.clips():
            plan.rows_added += row.id not in known
            if known.setdefault(row.id, row) != row:
                plan.rows_differing.append(row.id)
    if not dry_run:
        with disk_errors(root):
            _merge_tables(into, others, plan)
    return plan


class _PartGone(Exception):
    """A part of a source is there no more."""


@contextmanager
def _part_of(source: Store, name: str) -> Iterator[None]:
    """Tell a part that was taken away from one that lacks a file."""
    try:
        yield
    except FileNotFoundError as error:
        if name not in list_parts(source.path):
            raise _PartGone from None
        raise DamagedStore(
            f"{error.filename or error}: this file of a committed part is missing; run stepcli "
            "store repair there first"
        ) from None


def _lacking(root: StoragePath, others: list[Store]) -> dict[str, tuple[PartRecord, Store]]:
    """The parts of other stores that this one lacks, by name."""
    found: dict[str, tuple[PartRecord, Store]] = {}
    present = {*list_parts(root), *buried_parts(root)}
    for other in others:
        buried_there = buried_parts(other.path)
        for name in other.parts:
            if name in present or name in buried_there or name in found:
                continue
            with _part_of(other, name):
                record = read_part_record(other.path, name)
                read_index(other.path, name, other.manifest)  # damaged ones are refused here
            found[name] = record, other
    return found


def _size(record: PartRecord) -> int:
    return sum(file.size for file in record.files.values())


def _compatible(into: Store, path: Location) -> Store:
    other = open_store(path)
    if other.path.location == into.path.location:
        raise UsageError(f"{path} is the store to merge into; name other stores")
    require_same_spec(into.spec, other.spec, str(into.path))
    for what in ("dataset", "format"):
        mine, theirs = getattr(into, what), getattr(other, what)
        if mine != theirs:
            raise UsageError(
                f"{path} has {what} {theirs!r}, {into.path} has {mine!r}; "
                + ("convert it first" if what == "format" else "they cannot share a store")
            )
    return other


def _add_parts(
    into: Store,
    found: dict[str, tuple[PartRecord, Store]],
    plan: MergePlan,
    added: set[str],
    on_part: Callable[[int, int], None] | None,
) -> None:
    sweep_staging(into.path)
    staging = Staging(into.path)
    try:
        staging.make_folder()
        for name, (record, source) in found.items():
            staged = staging.folder / name
            with _part_of(source, name):
                copied = _stage(source.path / PARTS / name, staged, record)
            plan.copied_bytes += publish_part(into.path, staged, record) or copied
            added.add(name)
            if on_part is not None:
                on_part(len(added), len(plan.parts))
    finally:
        staging.close()


def _merge_tables(into: Store, others: list[Store], plan: MergePlan) -> None:
    rows: dict[str, ClipRow] = {}
    for other in others:
        rows = {row.id: row for row in other.clips()} | rows
    into.add_clips(rows.values())
    add_segments(into, [row for other in others for row in other.segments()])
    classes = [other.classes() for other in others if other.classes()]
    if classes:
        into.add_classes(classes[0])
    _merge_failures(into, others)
    for other in others:
        towers, differing = copy_texts(other.path, into.path)
        plan.texts_added += towers
        plan.texts_differing += differing
    into.save_index()


def _stage(source: StoragePath, staged: Path, record: PartRecord) -> int:
    """Link or copy a part's files into staging; bytes copied, which are checked."""
    copied = (source / RECORD).download(staged / RECORD)
    for path, expected in record.files.items():
        size = (source / path).download(staged / path)
        copied += size
        problem = wrong_file(LocalPath(staged / path), expected) if size else ""
        if problem:
            raise DamagedStore(f"{source / path}: {problem}; run stepcli store repair there first")
    return copied


def _merge_failures(into: Store, others: list[Store]) -> None:
    known = read_failures(into.path)
    log = FailureLog(into.path, Staging(into.path).owner.unique)
    try:
        for other in others:
            for clip, failure in read_failures(other.path).items():
                if clip not in known:
                    known[clip] = failure
                    log.append(failure)
    finally:
        log.close()
