"""A store compared with a list, before a video is read: what is stored, changed, moved, left."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stepcli.cache.maintenance.known_digests import FileKey, load_digests
from stepcli.cache.schema.clips import Failure
from stepcli.cache.store.origins import clip_generation, origins_of, paths_read
from stepcli.cache.store.store import Store
from stepcli.cache.tables.failures import read_failures
from stepcli.extract.config import WhenChanged
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.sources.compare import Changed, Digester, SourceCheck, compare, describe, look
from stepcli.extract.sources.place import (
    find_home,
    not_listed,
    rename_moved,
    unrecorded_elsewhere,
)
from stepcli.runtime.errors import UsageError

SHOWN = 3
_URL = re.compile(r"(?:.*/)?[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""As a Path has it, below the list's folder."""
"""Examples in a message."""


@dataclass(frozen=True, slots=True)
class Todo:
    """What is left of a data set: done + quarantined + left = data set, always.

    Counted by what is stored: a clip of three views counts three times.
    """

    done: tuple[str, ...]
    """Stored ids."""
    quarantined: tuple[Failure, ...]
    left: tuple[Clip, ...]
    """Each with those of its views that are left."""

    @property
    def left_count(self) -> int:
        """Stored ids that are left."""
        return sum(len(clip.stored_ids) for clip in self.left)


@dataclass(frozen=True, slots=True)
class Redo:
    """Stored clips that are extracted again, because their sources have changed."""

    ids: frozenset[str]
    generation: int
    """Of the parts with their new tokens; older parts hold lower ones."""
    attempts: Mapping[str, int]
    """How often each had failed before."""

    def is_done(self, store: Store, stored_id: str) -> bool:
        """Whether the store holds new tokens of a clip, or those that it has may stay."""
        return stored_id not in self.ids or clip_generation(store, stored_id) >= self.generation


@dataclass(slots=True)
class Stock:
    """What was found."""

    clips: tuple[Clip, ...]
    """Of this run, all shares; those that have moved under the ids of the store."""
    share: tuple[Clip, ...]
    """Of this process."""
    compared: SourceCheck
    """The stored clips of the share."""
    not_listed: list[str]
    """Stored ids, and lines of the clips table, that the list does not name."""
    redo: Redo | None
    read: dict[FileKey, str]
    """Digests of the files that had to be read."""
    notes: list[str] = field(default_factory=list)


def take_stock(
    store: Store,
    dataset: Dataset,
    clips: Sequence[Clip],
    *,
    prefix: str,
    share: slice,
    changed: WhenChanged,
    full: bool,
) -> Stock:
    """Compare a store with the list; nothing is written.

    Args:
        store: as refreshed last.
        dataset: its whole list, ids with their prefix.
        clips: those that the run is about, with their views.
        prefix: of `--append`.
        share: which of them this process takes.
        changed: what to do with stored clips that were made from another source.
        full: take every stored clip's digest.

    Raises:
        UsageError: the store is of another root, or clips have changed and none may.
    """
    origins = origins_of(store)
    stored = store.snapshot.positions
    listed = {clip.id for clip in dataset.clips}
    # What --check-sources asks for is the bytes as they are now.
    digester = Digester({} if full or not origins else load_digests(store.path))
    renamed, pairs = rename_moved(clips, stored, origins, prefix, listed, digester)
    # By place in the list, not by what is left: shares stay the same when a rank starts anew.
    mine = renamed[share]
    found = compare(mine, stored, origins, digester=digester, full=full)
    renamed_of = dict(pairs)
    whole = replace(
        dataset,
        clips=tuple(replace(c, id=renamed_of.get(c.id, c.id)) for c in dataset.clips)
        if pairs
        else dataset.clips,
    )
    home, moved = find_home(store.path, whole, prefix, origins, found)
    notes = [moved] if moved else []
    notes += _moved_notes(found, pairs)
    notes += _unknown_notes(store, mine, found)
    if found.missing:
        notes.append(
            f"the videos of {_clips(len(found.missing))} are not there now (e.g. "
            f"{found.missing[0]!r}); their tokens stay"
        )
    redo = None
    if found.changed:
        if changed == "refuse":
            raise UsageError(_changed_text(store, found))
        ids = frozenset(one.id for one in found.changed)
        if changed == "redo":
            redo = _redo(store, ids)
            notes.append(f"{_clips(len(ids))} with another source now: extracted again")
        else:
            notes.append(
                f"{_clips(len(ids))} with another source now (e.g. {_both(found.changed[0])}): "
                "the stored tokens stay (--changed keep)"
            )
    rows = {row.id for row in store.clips()}
    names = {clip.id for clip in whole.clips}
    left_out = not_listed(rows | stored.keys(), names, origins, home)
    return Stock(renamed, mine, found, left_out, redo, digester.fresh, notes)


def what_is_left(
    store: Store, clips: Sequence[Clip], *, retry: bool = False, redo: Redo | None = None
) -> Todo:
    """Divide a data set's clips by what the store says of them.

    Args:
        store: as refreshed last.
        clips: with their views.
        retry: count what is quarantined as left.
        redo: clips whose stored tokens do not count.
    """
    failures = store.quarantined()
    if redo is not None:
        failures |= {
            clip: failure
            for clip, failure in read_failures(store.path).items()
            if clip in redo.ids and failure.attempt > redo.attempts.get(clip, 0)
        }
    done: list[str] = []
    quarantined: list[Failure] = []
    left: list[Clip] = []
    for clip in clips:
        missing = []
        for stored_id, view in zip(clip.stored_ids, clip.views or ("",), strict=True):
            if stored_id in store and (redo is None or redo.is_done(store, stored_id)):
                done.append(stored_id)
            elif stored_id in failures and not retry:
                quarantined.append(failures[stored_id])
            else:
                missing.append(view)
        if missing:
            left.append(replace(clip, views=tuple(missing)) if clip.views else clip)
    return Todo(tuple(done), tuple(quarantined), tuple(left))


def not_listed_note(ids: Sequence[str], rows: Collection[str]) -> str:
    """A line on the clips that the list does not name; "" where there are none.

    Args:
        ids: those clips.
        rows: ids of the clips table.
    """
    if not ids:
        return ""
    trained = [one for one in ids if one in rows]
    verb = "is" if len(ids) == 1 else "are"
    text = f"{_clips(len(ids))} of the store {verb} not in the list now ({_examples(ids)})"
    if not trained:
        return f"{text}; no probe takes them: they are out of the clips table"
    out = len(ids) - len(trained)
    some = f", {out} of them taken out before" if out else ""
    stays = "it stays" if len(trained) == 1 else "they stay"
    return f"{text}{some}; {stays} in training until --prune takes them out"


def missing_note(clips: Sequence[Clip], where: str = "") -> str:
    """A line on videos that are not there, before the first is decoded; "" where all are."""
    states = look(str(clip.path) for clip in clips)
    gone = [clip for clip in clips if states[str(clip.path)] is None]
    if not gone:
        return ""
    return (
        f"the videos of {len(gone)} of {_clips(len(clips))} to extract are missing{where} (e.g. "
        f"{gone[0].path}){_hint(str(gone[0].path))}; such clips are quarantined"
    )


def _hint(path: str) -> str:
    """What may be wrong with a path that does not exist."""
    if "\\" in path:
        return ", a path of Windows: write it with / and as this machine has it"
    if _URL.match(path):
        return ", a URL: download the videos first, and give paths"
    if path.startswith(("~", "$")) or "/~/" in path or "/$" in path:
        return ": ~ and variables are not replaced in lists; write the path in full"
    return ""


def _redo(store: Store, ids: frozenset[str]) -> Redo:
    attempts = {one: failure.attempt for one, failure in read_failures(store.path).items()}
    highest = max(clip_generation(store, one) for one in ids)
    return Redo(ids, highest + 1, {one: attempts[one] for one in ids if one in attempts})


def _moved_notes(found: SourceCheck, pairs: Sequence[tuple[str, str]]) -> list[str]:
    notes = []
    if pairs:
        new, old = pairs[0]
        notes.append(
            f"{_clips(len(pairs))} of the list moved: the store has the same bytes under another "
            f"id, which stays (e.g. {new!r} is stored as {old!r})"
        )
    renamed = {old for _, old in pairs}
    moved = [(then, now) for one, then, now in found.moved if one not in renamed]
    if moved:
        then, now = moved[0]
        notes.append(f"the videos of {_clips(len(moved))} moved (e.g. {then} is {now} now)")
    return notes


def _unknown_notes(store: Store, clips: Sequence[Clip], found: SourceCheck) -> list[str]:
    if not found.unknown:
        return []
    elsewhere = unrecorded_elsewhere(clips, set(found.unknown), paths_read(store))
    text = (
        f"{_clips(len(found.unknown))} were stored by an earlier version, which did not record "
        "sources: whether their videos have changed cannot be told"
    )
    if elsewhere:
        one, then, now = elsewhere[0]
        text += (
            f"; {len(elsewhere)} of them were read from another path than the list names "
            f"(e.g. {one!r} from {then}, now {now}): if these are other videos, give another "
            "--store"
        )
    return [text]


def _changed_text(store: Store, found: SourceCheck) -> str:
    shown = "; ".join(_both(one) for one in found.changed[:SHOWN])
    more = len(found.changed) - SHOWN
    return (
        f"the store {store.path}: {_clips(len(found.changed))} of {_stored(found)} stored ones "
        f"were made from another source than the list names now: {shown}"
        + (f"; and {more} more" if more > 0 else "")
        + ". --changed redo extracts them again, --changed keep keeps their tokens; or give "
        "another --store"
    )


def _stored(found: SourceCheck) -> int:
    return len(found.same) + len(found.changed) + len(found.missing) + len(found.unknown)


def _both(one: Changed) -> str:
    return f"{one.id!r} from {describe(one.stored)}, now {one.now}"


def _examples(ids: Sequence[str]) -> str:
    more = len(ids) - SHOWN
    return ", ".join(ids[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _clips(count: int) -> str:
    return f"{count} clip" if count == 1 else f"{count} clips"
