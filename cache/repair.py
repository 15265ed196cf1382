"""Take what is damaged out of a store, so that the next extraction makes it again."""

from dataclasses import dataclass, field
from pathlib import Path

from stepcli.cache.consolidated import FOLDER as CACHE
from stepcli.cache.durable import disk_errors
from stepcli.cache.errors import StoreError
from stepcli.cache.formats import array_file
from stepcli.cache.manifest import Manifest, read_manifest
from stepcli.cache.objects import place_of, require_folder
from stepcli.cache.open_part import OpenPart
from stepcli.cache.parts import (
    PARTS,
    Staging,
    generation_of,
    list_parts,
    read_part_record,
    remove_part,
    sweep_staging,
)
from stepcli.cache.snapshot import read_index
from stepcli.cache.stored_clips import part_clips
from stepcli.cache.token_layout import layout_of
from stepcli.cache.tombstones import bury
from stepcli.cache.verify import Problem, Report, verify_store


@dataclass
class RepairPlan:
    """What repair does, or did."""

    parts: dict[str, str] = field(default_factory=dict)
    """Damaged part to what is wrong with it."""
    kept_clips: int = 0
    """Whole clips of those parts, copied to new ones."""
    dropped_clips: list[str] = field(default_factory=list)
    """Clips without a whole copy left in the store: extract makes them again."""
    removed_caches: list[str] = field(default_factory=list)
    """Damaged consolidated indexes: whoever opens the store next makes them anew."""
    swept: list[str] = field(default_factory=list)
    """Staging folders of dead writers."""
    left: list[Problem] = field(default_factory=list)
    """What repair cannot mend."""


def repair_store(root: Path, *, workers: int = 4, dry_run: bool = False) -> RepairPlan:
    """Drop damaged parts after copying the clips in them that are whole.

    A damaged part gets a tombstone: an old copy of it that comes back from a backup or a merge
    stays out of use. Tables and the manifest are the user's to restore; they are only reported.

    Args:
        root: the store's folder.
        workers: parts checked at the same time.
        dry_run: only say what would be done.

    Raises:
        DamagedStore: the manifest itself is damaged, so that nothing can be told about the parts.
    """
    root = require_folder(place_of(root), "repair")
    manifest = read_manifest(root)
    report = verify_store(root, workers=workers)
    plan = RepairPlan(parts=_reasons(report))
    for problem in report.problems:
        if problem.place.startswith(f"{CACHE}/"):
            plan.removed_caches.append(problem.place)
        elif not problem.part:
            plan.left.append(problem)
    whole_elsewhere = _clips_in(root, manifest, set(list_parts(root)) - plan.parts.keys())
    with disk_errors(root):
        for place in [] if dry_run else plan.removed_caches:
            (root / place).unlink(missing_ok=True)
        plan.swept = [] if dry_run else sweep_staging(root)
        staging = Staging(root)
        try:
            for name, reason in plan.parts.items():
                kept, dropped = _rescue(root, name, manifest, staging, dry_run)
                dropped = [clip for clip in dropped if clip not in whole_elsewhere]
                plan.kept_clips += kept
                plan.dropped_clips += dropped
                if not dry_run:
                    bury(root, name, reason, dropped)
                    remove_part(root, name, staging)
        finally:
            staging.close()
    plan.dropped_clips.sort()
    return plan


def _reasons(report: Report) -> dict[str, str]:
    reasons: dict[str, list[str]] = {}
    for problem in report.problems:
        if problem.part:
            reasons.setdefault(problem.part, []).append(f"{problem.place}: {problem.problem}")
    return {part: "; ".join(texts) for part, texts in sorted(reasons.items())}


def _clips_in(root: Path, manifest: Manifest, parts: set[str]) -> set[str]:
    found: set[str] = set()
    for name in parts:
        found.update(read_index(root, name, manifest)["id"].to_pylist())
    return found


def _rescue(
    root: Path, name: str, manifest: Manifest, staging: Staging, dry_run: bool
) -> tuple[int, list[str]]:
    """Copy a part's whole clips to a new part; (how many, ids of those that are not whole)."""
    try:
        index = read_index(root, name, manifest)
    except (StoreError, FileNotFoundError):
        # Where its clips lie and what they must be is lost, and so is which they were: they are
        # in the clips table, and count as left from now on.
        return 0, []
    folder = root / PARTS / name
    layout = layout_of(manifest.spec)
    if not all((folder / array_file(manifest.format, array)).is_file() for array in layout.arrays):
        return 0, index["id"].to_pylist()
    part: OpenPart | None = None
    kept, dropped = 0, []
    for clip in part_clips(folder, manifest, index):
        if not clip.intact:
            dropped.append(clip.record.id)
            continue
        kept += 1
        if not dry_run:
            part = part or OpenPart(staging, manifest, index.num_rows, generation_of(name) + 1)
            part.add(clip.record, clip.arrays)
    if part is not None:
        part.commit(read_part_record(root, name).producer)
    return kept, dropped
