"""Put the parts of several stores of one spec into one of them, without copying a byte of tokens
where the file system has hard links."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stepcli.cache.clips import ClipRow
from stepcli.cache.durable import disk_errors, sync_all
from stepcli.cache.errors import UsageError
from stepcli.cache.failures import FailureLog, read_failures
from stepcli.cache.objects import place_of, require_folder
from stepcli.cache.parts import (
    PARTS,
    RECORD,
    Staging,
    list_parts,
    move_part,
    read_part_record,
    sweep_staging,
)
from stepcli.cache.snapshot import read_index
from stepcli.cache.spec import require_same_spec
from stepcli.cache.store import Store, open_store
from stepcli.cache.tombstones import buried_parts


@dataclass
class MergePlan:
    """What a merge does, or did."""

    parts: dict[str, str] = field(default_factory=dict)
    """Part to the store that it comes from."""
    clips: int = 0
    """Clips in those parts."""
    bytes: int = 0
    copied_bytes: int = 0
    """What could not be linked: the stores lie on different file systems."""
    rows_added: int = 0
    """New lines of the clips table."""
    rows_differing: list[str] = field(default_factory=list)
    """Clips whose line in the target says something else; the target's stays."""


def merge_stores(target: Path, sources: Sequence[Path], *, dry_run: bool = False) -> MergePlan:
    """Add every part of `sources` that `target` lacks.

    The sources stay as they are. Running it again, or after it was killed, adds what is missing.

    Args:
        target: store to add to.
        sources: stores of the same spec, data set and format.
        dry_run: only say what would be done.

    Raises:
        SpecMismatch: a source was written with another spec; nothing was merged.
        UsageError: another data set or format; nothing was merged.
    """
    target = require_folder(place_of(target), "merge")
    into = open_store(target)
    others = [_compatible(into, path) for path in sources]
    plan = MergePlan()
    buried = buried_parts(target)
    present = {*list_parts(target), *buried}
    for other in others:
        buried_there = buried_parts(other.path)
        for name in other.parts:
            if name in present or name in buried_there:
                continue
            record = read_part_record(other.path, name)
            read_index(other.path, name, other.manifest)  # damaged ones are refused here
            plan.parts[name] = str(other.path)
            plan.clips += record.clips
            plan.bytes += sum(file.size for file in record.files.values())
            present.add(name)
    known = {row.id: row for row in into.clips()}
    for other in others:
        for row in other.clips():
            plan.rows_added += row.id not in known
            if known.setdefault(row.id, row) != row:
                plan.rows_differing.append(row.id)
    if not dry_run:
        with disk_errors(target):
            _merge(target, into, others, plan)
    return plan


def _compatible(into: Store, path: Path) -> Store:
    other = open_store(path)
    if require_folder(other.path, "merge").resolve() == Path(str(into.path)).resolve():
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


def _merge(target: Path, into: Store, others: list[Store], plan: MergePlan) -> None:
    sweep_staging(target)
    staging = Staging(target)
    try:
        for name, source in plan.parts.items():
            record = read_part_record(Path(source), name)
            staged = staging.folder / name
            for path in [*record.files, RECORD]:
                plan.copied_bytes += _link(Path(source) / PARTS / name / path, staged / path)
            sync_all([path for path in [staged, *staged.rglob("*")] if path.is_dir()])
            move_part(staged, target)
    finally:
        staging.close()
    rows: dict[str, ClipRow] = {}
    for other in others:
        rows = {row.id: row for row in other.clips()} | rows
    into.add_clips(rows.values())
    classes = [other.classes() for other in others if other.classes()]
    if classes and not into.classes():
        into.replace_classes(classes[0])
    _merge_failures(into, others)


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


def _link(source: Path, target: Path) -> int:
    """Give a file a second name, or copy it; returns the bytes copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target, follow_symlinks=False)
        with target.open("rb") as file:
            os.fsync(file.fileno())
        return target.stat().st_size
    return 0
