"""Rewrite small parts, and parts with superseded copies, into full ones. Readers go on."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from stepcli.cache.parts.commit import (
    PARTS,
    Staging,
    generation_of,
    read_part_record,
    remove_part,
    sweep_staging,
)
from stepcli.cache.parts.damaged import set_aside_part
from stepcli.cache.parts.record import PartRecord
from stepcli.cache.parts.scan import intact_clips
from stepcli.cache.parts.tombstones import buried_parts
from stepcli.cache.schema.spec import Producer
from stepcli.cache.storage.path import Location
from stepcli.cache.store.snapshot import read_index
from stepcli.cache.store.store import Store, open_store
from stepcli.cache.store.writer import StoreWriter
from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.files import disk_errors


@dataclass
class CompactPlan:
    """What compaction does, or did."""

    rewritten: list[str] = field(default_factory=list)
    """Parts whose clips go to new parts."""
    removed: list[str] = field(default_factory=list)
    """Parts without a clip that a reader would take, tombstoned ones among them."""
    clips: int = 0
    """Clips copied."""
    superseded: int = 0
    """Copies of clips that a later part holds too; they go."""
    bytes_before: int = 0
    """Of the parts rewritten or removed."""
    swept: list[str] = field(default_factory=list)
    """Staging folders of dead writers."""


def compact_store(
    path: Location,
    *,
    part_bytes: int = 1 << 30,
    part_clips: int = 4096,
    dry_run: bool = False,
    on_clip: Callable[[int, int], None] | None = None,
) -> CompactPlan:
    """Make few full parts of many small ones; drop superseded copies.

    New parts are committed before old ones go, one rename each: a reader that meets a part gone
    refreshes and finds its clips in a new one. Parts of different producers are not mixed.
    Compressed parts, which earlier versions wrote, are rewritten uncompressed.

    Args:
        path: the store's folder or URL.
        part_bytes: size of a full part; parts below half of it are small.
        part_clips: most clips of a part.
        dry_run: only say what would be done.
        on_clip: called with (clips copied, clips in all).

    Raises:
        DamagedStore: a clip to be copied is damaged, or the newer of two copies is; repair first.
            Nothing was removed.
    """
    tried: set[tuple[str, ...]] = set()
    while True:
        store = open_store(path)
        try:
            return _compact(store, part_bytes, part_clips, dry_run, on_clip)
        except FileNotFoundError as error:  # another compact took a part away: look again
            if store.parts in tried:
                raise DamagedStore(
                    f"{error.filename or error}: this file of a committed part is missing; run "
                    "stepcli store verify, then repair"
                ) from None
            tried.add(store.parts)


def _compact(
    store: Store,
    part_bytes: int,
    part_clips: int,
    dry_run: bool,
    on_clip: Callable[[int, int], None] | None,
) -> CompactPlan:
    root = store.path
    records = {name: read_part_record(root, name) for name in store.parts}
    live = _live_rows(store)
    groups = _groups(records, live, part_bytes, part_clips)
    plan = CompactPlan(
        rewritten=sorted(name for group in groups for name in group),
        removed=[name for name in records if not len(live[name])],
        clips=sum(len(live[name]) for group in groups for name in group),
    )
    gone = [*plan.rewritten, *plan.removed]
    plan.superseded = sum(records[name].clips - len(live[name]) for name in gone)
    plan.bytes_before = sum(_size(records[name]) for name in gone)
    buried = sorted(name for name in buried_parts(root) if (root / PARTS / name).is_there())
    plan.removed += buried
    if dry_run:
        return plan
    with disk_errors(root):
        plan.swept = sweep_staging(root)
    done = count(1)

    def copied() -> None:
        if on_clip is not None:
            on_clip(next(done), plan.clips)

    _check_newer_copies(store, gone, set(plan.rewritten), live)
    for group in groups:
        _rewrite(store, group, records, live, part_bytes, part_clips, copied)
    with disk_errors(root):
        staging = Staging(root)
        try:
            for name in gone:
                remove_part(root, name, staging)
            for name in buried:  # brought back by a backup, or its repair was killed
                set_aside_part(root, name)
        finally:
            staging.close()
    store.save_index()
    return plan


def _live_rows(store: Store) -> dict[str, np.ndarray]:
    """By part: rows whose copy a reader takes, ascending."""
    snapshot = store.snapshot
    return {
        name: np.sort(snapshot.row_of[snapshot.part_of == number])
        for number, name in enumerate(snapshot.parts)
    }


def _check_newer_copies(
    store: Store, gone: list[str], rewritten: set[str], live: dict[str, np.ndarray]
) -> None:
    """Read the copies for whose sake older ones go; those in rewritten parts are read anyway.

    Raises:
        DamagedStore: one is damaged, and an older copy may be the last good one.
    """
    snapshot = store.snapshot
    wanted: dict[str, set[int]] = {}
    for name in gone:
        ids = read_index(store.path, name, store.manifest)["id"].to_pylist()
        for row in set(range(len(ids))) - set(live[name].tolist()):
            place = snapshot.positions[ids[row]]
            newer = snapshot.parts[snapshot.part_of[place]]
            if newer not in rewritten:
                wanted.setdefault(newer, set()).add(int(snapshot.row_of[place]))
    for name, rows in sorted(wanted.items()):
        index = read_index(store.path, name, store.manifest)
        with closing(intact_clips(store.path, name, store.manifest, index, sorted(rows))) as clips:
            for _ in clips:
                pass


def _size(record: PartRecord) -> int:
    return sum(file.size for file in record.files.values())


def _groups(
    records: dict[str, PartRecord], live: dict[str, np.ndarray], part_bytes: int, part_clips: int
) -> list[list[str]]:
    """Parts to rewrite together: made alike, and small, compressed or with superseded copies."""
    groups: dict[str, list[str]] = {}
    worthwhile: set[str] = set()
    for name, record in records.items():
        if not len(live[name]):
            continue
        producer = canonical_json(record.producer.model_dump(mode="json"))
        small = _size(record) < part_bytes / 2 and record.clips < part_clips / 2
        if len(live[name]) < record.clips or record.compression != "none":
            worthwhile.add(producer)
        elif not small:
            continue
        groups.setdefault(producer, []).append(name)
    # A lone small part with nothing superseded in it would only be copied.
    return [names for producer, names in groups.items() if len(names) > 1 or producer in worthwhile]


def _rewrite(
    store: Store,
    names: list[str],
    records: dict[str, PartRecord],
    live: dict[str, np.ndarray],
    part_bytes: int,
    part_clips: int,
    copied: Callable[[], None],
) -> None:
    producer: Producer = records[names[0]].producer
    writer = StoreWriter(
        store.path,
        store.manifest,
        producer,
        part_bytes=part_bytes,
        part_clips=min(part_clips, sum(len(live[name]) for name in names)),
        part_seconds=float("inf"),
        generation=1 + max(generation_of(name) for name in names),
    )
    with writer:
        for name in names:
            index = read_index(store.path, name, store.manifest)
            rows = live[name].tolist()
            with closing(intact_clips(store.path, name, store.manifest, index, rows)) as clips:
                for clip in clips:
                    writer.add_stored(clip.record, clip.arrays)
                    copied()
