"""Take what is damaged out of a store, so that the next extraction makes it again."""

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace

from stepcli.cache.maintenance.identity import settled_manifest
from stepcli.cache.maintenance.restore import advice, restore_digests, restore_file
from stepcli.cache.maintenance.verify import Problem, VerifyReport, verify_store
from stepcli.cache.parts.commit import (
    PARTS,
    Staging,
    generation_of,
    list_parts,
    read_part_record,
    sweep_staging,
)
from stepcli.cache.parts.damaged import (
    damaged_bytes,
    delete_damaged,
    keep_aside,
    set_aside_part,
)
from stepcli.cache.parts.open_part import OpenPart
from stepcli.cache.parts.scan import part_clips
from stepcli.cache.parts.token_files import array_file
from stepcli.cache.parts.tombstones import buried_parts, bury
from stepcli.cache.schema.manifest import FILE_NAME, Manifest, manifest_bytes
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.storage.path import Location, StoragePath
from stepcli.cache.storage.places import place_of
from stepcli.cache.store.snapshot import read_index
from stepcli.cache.tables import changes as tables
from stepcli.runtime.errors import DamagedStore, StorageError
from stepcli.runtime.files import disk_errors
from stepcli.runtime.sealed_json import SEALED_LIMIT


@dataclass
class RepairPlan:
    """What repair does, or did."""

    parts: dict[str, str] = field(default_factory=dict)
    """Damaged part to what is wrong with it; moved to `.damaged/`."""
    kept_clips: int = 0
    """Whole clips of those parts, copied to new ones."""
    dropped_clips: list[str] = field(default_factory=list)
    """Clips without a whole copy left in the store: extract makes them again."""
    restored: dict[str, str] = field(default_factory=dict)
    """Damaged file outside of the parts to what was done about it."""
    swept: list[str] = field(default_factory=list)
    """Staging folders of dead writers."""
    left: list[Problem] = field(default_factory=list)
    """What repair cannot restore, or could not read; the problem says what to do."""
    set_aside_bytes: int = 0
    """In `.damaged/`, afterwards."""
    deleted_bytes: int = 0
    """What was in `.damaged/` and was deleted."""


def repair_store(
    path: Location,
    *,
    workers: int = 4,
    delete: bool = False,
    dry_run: bool = False,
    on_part: Callable[[int, int], None] | None = None,
) -> RepairPlan:
    """Move damaged parts away, after copying their whole clips; restore the files beside the parts.

    What could not be read is not touched: nothing is known of it. A damaged part goes to
    `.damaged/` and gets a tombstone: an old copy of it that comes back from a backup or a merge
    stays out of use. A manifest that is damaged, or of another store, is restored from the parts,
    a table from its last version; a table that can be read but is not as it was written may be the
    user's edit, and is only reported.

    Args:
        path: the store's folder or URL.
        workers: parts checked at the same time.
        delete: afterwards delete everything in `.damaged/`, also from earlier repairs.
        dry_run: only say what would be done.
        on_part: called with (parts checked, parts in all).

    Raises:
        StoreNotFound: there is no store at all.
        DamagedStore: the manifest is damaged, and no part holds a copy of it; or the parts are of
            several stores. Nothing was changed.
        StorageError: what tells whose the parts are could not be read. Nothing was changed.
    """
    root = place_of(path)
    manifest, reason = settled_manifest(root)
    plan = RepairPlan()
    with disk_errors(root):
        if reason:
            plan.restored[FILE_NAME] = f"{reason}; restored from the copy in its parts"
            if not dry_run:
                _restore_manifest(root, manifest)
        report = verify_store(root, workers=workers, on_part=on_part, manifest=manifest)
        plan.parts = _reasons(report)
        plan.swept = [] if dry_run else sweep_staging(root)
        _mend_others(root, report, plan, dry_run)
        _replace_parts(root, manifest, plan, dry_run)
        if delete:
            plan.deleted_bytes = damaged_bytes(root)
            if not dry_run:
                delete_damaged(root)
        plan.set_aside_bytes = damaged_bytes(root)
    return plan


def _restore_manifest(root: StoragePath, manifest: Manifest) -> None:
    with suppress(FileNotFoundError, DamagedStore):
        keep_aside(root, FILE_NAME, (root / FILE_NAME).read(SEALED_LIMIT))
    (root / FILE_NAME).write(manifest_bytes(manifest))


def _reasons(report: VerifyReport) -> dict[str, str]:
    reasons: dict[str, list[str]] = {}
    unread = {problem.part for problem in report.unread}
    for problem in report.problems:
        if problem.part and problem.part not in unread:
            reasons.setdefault(problem.part, []).append(f"{problem.place}: {problem.problem}")
    return {part: "; ".join(texts) for part, texts in sorted(reasons.items())}


def _mend_others(root: StoragePath, report: VerifyReport, plan: RepairPlan, dry_run: bool) -> None:
    plan.left += [
        replace(problem, problem=f"{problem.problem}; left as it is") for problem in report.unread
    ]
    others = [problem for problem in report.problems if not problem.part and not problem.unread]
    digests_damaged = any(problem.place == tables.DIGESTS for problem in others)
    if digests_damaged:  # before the tables: nothing can be restored without them
        plan.restored[tables.DIGESTS] = restore_digests(root, dry_run=dry_run)
    for problem in others:
        if problem.place in (FILE_NAME, tables.DIGESTS):
            continue
        done = restore_file(root, problem.place, dry_run=dry_run)
        if done:
            plan.restored[problem.place] = done
        elif not (digests_damaged and tables.is_readable(root, problem.place)):
            text = f"{problem.problem}; {advice(root, problem.place)}"
            plan.left.append(Problem(problem.place, text))


def _replace_parts(root: StoragePath, manifest: Manifest, plan: RepairPlan, dry_run: bool) -> None:
    unread = {problem.part for problem in plan.left}
    whole_elsewhere = _clips_in(root, manifest, set(list_parts(root)) - plan.parts.keys() - unread)
    staging = Staging(root)
    try:
        for name, reason in list(plan.parts.items()):
            if name not in list_parts(root):  # compacted away, or repaired by another
                del plan.parts[name]
                continue
            try:
                kept, dropped = _rescue(root, name, manifest, staging, dry_run)
            except StorageError as error:
                del plan.parts[name]
                plan.left.append(Problem(f"{PARTS}/{name}", str(error), name, unread=True))
                continue
            dropped = [clip for clip in dropped if clip not in whole_elsewhere]
            plan.kept_clips += kept
            plan.dropped_clips += dropped
            if not dry_run:
                bury(root, name, reason, dropped)
                set_aside_part(root, name)
        if not dry_run:
            # Those that a killed repair buried, and those that a backup or a copy brought back.
            for name in sorted(buried_parts(root)):
                if (root / PARTS / name).is_there():
                    set_aside_part(root, name)
    finally:
        staging.close()
    plan.dropped_clips.sort()


def _clips_in(root: StoragePath, manifest: Manifest, parts: set[str]) -> set[str]:
    found: set[str] = set()
    for name in parts:
        with suppress(FileNotFoundError):  # compacted away since
            found.update(read_index(root, name, manifest)["id"].to_pylist())
    return found


def _rescue(
    root: StoragePath, name: str, manifest: Manifest, staging: Staging, dry_run: bool
) -> tuple[int, list[str]]:
    """Copy a part's whole clips to a new part; (how many, ids of those that are not whole)."""
    try:
        index = read_index(root, name, manifest)
        record = read_part_record(root, name)
    except (DamagedStore, FileNotFoundError):
        # Where its clips lie and what they must be is lost, and so is which they were: they are
        # in the clips table, and count as left from now on.
        return 0, []
    files = {array_file(manifest.format, array) for array in part_layout(manifest.spec).arrays}
    if not files <= {*(root / PARTS / name).names()}:
        return 0, index["id"].to_pylist()
    part: OpenPart | None = None
    kept, dropped = 0, []
    try:
        with closing(part_clips(root, name, manifest, index)) as clips:
            for clip in clips:
                if not clip.intact:
                    dropped.append(clip.record.id)
                    continue
                kept += 1
                if not dry_run:
                    generation = generation_of(name) + 1
                    part = part or OpenPart(staging, manifest, index.num_rows, generation)
                    part.add(clip.record, clip.arrays)
        if part is not None:
            part.commit(record.producer)
    except BaseException:
        if part is not None:
            part.discard()
        raise
    return kept, dropped
