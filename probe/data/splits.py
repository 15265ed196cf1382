"""Which clips of a store are for training and which for testing, and what their classes are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stepcli.cache.schema.alike import alike_warning
from stepcli.cache.schema.class_sets import different_classes, single_class, unused_classes
from stepcli.cache.schema.clips import ClassRow, ClipRow
from stepcli.cache.schema.groups import given_key, group_keys, joined_groups, plain_names
from stepcli.cache.schema.label_sets import labels_in
from stepcli.cache.schema.leakage import label_conflicts
from stepcli.cache.schema.official_splits import chosen_splits, official_names, split_in
from stepcli.cache.schema.split_file import match_splits
from stepcli.cache.schema.split_names import normalise_split, split_notes, unused_splits
from stepcli.cache.schema.views import clip_of, views_by_clip
from stepcli.cache.store.duplicates import find_copies
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.empty_split import empty_split
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store


@dataclass(frozen=True, slots=True)
class LabelledClips:
    """The committed clips of two splits, with what the store's tables say of them."""

    train: tuple[ClipRow, ...]
    test: tuple[ClipRow, ...]
    classes: tuple[str, ...]
    """In the order of their index."""
    pairs: tuple[tuple[str, str], ...]
    """Nearly symmetric classes of the store's own table."""
    invariant: frozenset[str]
    """Classes that keep their label when played backward."""
    warnings: tuple[str, ...]
    irreversible: frozenset[str] = frozenset()
    """Classes that show something which does not happen when played backward."""
    copies: tuple[tuple[str, ...], ...] = ()
    """Sets of clips of the store with equal tokens, by id without view."""
    group_of: Mapping[str, str] = field(default_factory=dict)
    """Stored id -> what slices of train, and intervals over test, keep together: groups of that
    side, united over its copies."""
    several: bool = False
    """Whether a clip has any number of labels, joined by ";"."""

    def labels(self, row: ClipRow) -> tuple[str, ...]:
        """The label of a clip; of a task with several, all of them."""
        return labels_in(row.label) if self.several else (row.label,)

    def group(self, row: ClipRow) -> str:
        """The group of a clip, united over copies; a clip without a group is its own."""
        return self.group_of.get(row.id) or plain_names([given_key(row)])[0]


def labelled_clips(
    store: "Store",
    train_split: str,
    test_split: str,
    split_file: str | None = None,
    *,
    official: str | None = None,
    split_digest: str | None = None,
    copies: tuple[tuple[str, ...], ...] | None = None,
    pooled: bool = False,
    several: bool = False,
) -> LabelledClips:
    """Choose a store's clips by split: the table's own, or that of a file.

    Args:
        store: The store.
        train_split: Name of a split, in any spelling that `normalise_split` knows.
        test_split: The other one.
        split_file: CSV with the columns clip and split in place of the table's own.
        official: Name of the official split, where the store has several; None: the first.
        split_digest: SHA-256 that the file must have; None: any.
        copies: Sets of clips with equal tokens; None: they are looked for.
        several: Whether a clip has any number of labels, joined by ";".
        pooled: All clips of both splits, or of a store without splits all of them, as train; no
            test.

    Raises:
        UsageError: a split has no committed clip; the message lists the splits that have some. Or
            the file is no table of clips and splits, or names none of the store's clips.
    """
    found = _chosen_clips(
        store, train_split, test_split, split_file, official, split_digest, pooled=pooled
    )
    rows, here, chosen, notes = found.rows, found.here, found.chosen, found.notes
    table = store.classes()
    train = tuple(next(iter(chosen.values())))
    test = () if pooled else tuple(chosen[normalise_split(test_split)])
    if copies is None:
        copies = find_copies(store).sets
    group_of: dict[str, str] = {}
    for name, side in chosen.items():
        # Within a side: slices are of train, intervals are over test.
        keys = group_keys(side, copies)
        group_of |= zip((row.id for row in side), plain_names(keys), strict=True)
        if joined := joined_groups(side, keys):
            notes.append(f"{name}: {joined}")
    return LabelledClips(
        train,
        test,
        _class_names(_named(here, several=several), table),
        tuple((row.name, row.partner) for row in table if row.partner and row.name < row.partner),
        frozenset(row.name for row in table if row.kind == "invariant"),
        (
            *notes,
            *_warnings(rows, here, chosen, found.used, copies, split_file is not None, several),
            *filter(
                None, [unused_classes([row.name for row in table], _named(here, several=several))]
            ),
        ),
        frozenset(row.name for row in table if row.kind == "irreversible"),
        copies,
        group_of,
        several,
    )


@dataclass(frozen=True, slots=True)
class _ChosenClips:
    """Clips of a store by split."""

    rows: list[ClipRow]
    """The clips table, splits normalised."""
    here: list[ClipRow]
    """Those that are stored."""
    chosen: dict[str, list[ClipRow]]
    """Those of the two splits, by name: train, then test; or of both together."""
    used: tuple[str, ...]
    """Names of the splits of those."""
    notes: list[str]


def _chosen_clips(
    store: "Store",
    train_split: str,
    test_split: str,
    split_file: str | None,
    official: str | None,
    split_digest: str | None,
    *,
    pooled: bool,
) -> _ChosenClips:
    rows = store.clips()
    notes = []
    if split_file is None and (names := official_names(row.split for row in rows)):
        (number,) = chosen_splits(official, names) if official else names[:1]
        rows = [replace(row, split=split_in(row.split, number)) for row in rows]
    if split_file is None:
        notes += split_notes(row.split for row in rows)
    else:
        known = dict.fromkeys(clip_of(row.id) for row in rows)
        split_of, notes = match_splits(Path(split_file), known, split_digest)
        rows = [replace(row, split=split_of.get(clip_of(row.id), "")) for row in rows]
    rows = [replace(row, split=normalise_split(row.split)) for row in rows]
    wanted = (normalise_split(train_split), normalise_split(test_split))
    here = [row for row in rows if row.id in store]
    chosen = {name: [r for r in here if r.split == name] for name in wanted}
    used = tuple(chosen)
    if pooled:
        in_either = [row for row in here if row.split in wanted]
        unsplit = not any(row.split for row in here)
        chosen = {" and ".join(dict.fromkeys(wanted)): here if unsplit else in_either}
        used = ("", *used) if unsplit else used
    for name, clips in chosen.items():
        if not clips:
            raise UsageError(empty_split(name, store.path, here, split_file))
    return _ChosenClips(rows, here, chosen, used, notes)


def require_clips(store: "Store", task: TaskConfig) -> None:
    """Refuse splits that a store does not have; needs no torch.

    Raises:
        UsageError: listing those that it has.
    """
    names: tuple[str | None, ...] = (None,)
    if task.split_file is None:
        names = chosen_splits(task.split, official_names(row.split for row in store.clips()))
    sides, digest = (task.train_split, task.test_split, task.split_file), task.split_digest
    for name in names:
        _chosen_clips(store, *sides, name, digest, pooled=task.leaves_a_group_out)


def _warnings(
    rows: Sequence[ClipRow],
    here: Sequence[ClipRow],
    chosen: Mapping[str, Sequence[ClipRow]],
    used: Sequence[str],
    copies: Sequence[Sequence[str]],
    by_file: bool,
    several: bool,
) -> Iterator[str]:
    """What is odd about the two splits of a store, one line each.

    Args:
        rows: The clips table, splits normalised.
        here: Those that are stored.
        chosen: Those of the two splits, by name: train, then test; or of both together.
        used: Names of the splits of those.
        copies: Sets of clips with equal tokens.
        several: Whether a clip has any number of labels.
        by_file: Whether the splits are those of a file, which has counted what it leaves out.
    """
    for name in used:
        stored, every = (sum(row.split == name for row in some) for some in (here, rows))
        if stored < every:
            yield f"{every - stored} of {every} clips of split {name!r} are not in the store"
    names = list(chosen)
    split_of = {clip_of(row.id): row.split for row in here}
    blank = 0 if by_file or "" in used else sum(not split for split in split_of.values())
    if blank:
        yield f"{counted(blank, 'clip')} without a split, not trained or tested on"
    both = [row for clips in chosen.values() for row in clips]
    labels = [_named(clips, several=several) for clips in chosen.values()]
    found = (
        unused_splits(split_of.values(), used),
        alike_warning(_named(both, several=several), "label"),
        alike_warning((row.group for row in both), "group"),
        single_class(_named(both, several=several)),
        different_classes(labels[0], labels[-1], (names[0], names[-1])),
        label_conflicts(both, copies),
    )
    yield from (line for line in found if line is not None)


def subsample(table: LabelledClips, share: float, shots: int | None, seed: int) -> LabelledClips:
    """Keep a share or number of each class's training clips, with all views; at least one.

    Of clips with several labels it is a share of all clips, whatever their labels. Draws of one
    seed are nested: what a smaller one keeps, a larger one keeps too.
    """
    random = np.random.default_rng(seed)
    by_label: dict[str, list[str]] = {}
    views = views_by_clip([row.id for row in table.train])
    for clip, places in views.items():
        row = table.train[next(iter(places.values()))]
        by_label.setdefault("" if table.several else row.label, []).append(clip)
    chosen: set[str] = set()
    for label in sorted(by_label):
        clips = by_label[label]
        count = min(max(1, round(share * len(clips))), shots or len(clips))
        chosen |= {clips[i] for i in random.permutation(len(clips))[:count]}
    return replace(table, train=tuple(row for row in table.train if clip_of(row.id) in chosen))


def base_classes(names: Sequence[str], protocol: str) -> int:
    """How many of the classes, in the order of their index, are trained on.

    Base-to-novel: the first half, of an odd number the larger one.
    """
    return (len(names) + 1) // 2 if protocol == "base-to-novel" else len(names)


def only_base(table: LabelledClips) -> LabelledClips:
    """Train on the base classes alone; what is tested stays."""
    base = table.classes[: base_classes(table.classes, "base-to-novel")]
    return replace(table, train=tuple(row for row in table.train if row.label in base))


def _named(rows: Sequence[ClipRow], *, several: bool) -> list[str]:
    """The labels of clips, one after the other."""
    return [name for row in rows for name in (labels_in(row.label) if several else [row.label])]


def _class_names(labels: Sequence[str], table: Sequence[ClassRow]) -> tuple[str, ...]:
    """The table's classes by index, then labels that it does not list, sorted."""
    listed = [row.name for row in sorted(table, key=lambda row: row.index)]
    return (*listed, *sorted(set(labels).difference(listed)))


def unseen_classes(seen: set[int], test: Sequence[int], names: Sequence[str]) -> str | None:
    """A warning that counts the classes that only test has, or None."""
    unseen = sorted(set(test) - seen)
    if not unseen:
        return None
    shown = ", ".join(names[i] for i in unseen[:5]) + (", ..." if len(unseen) > 5 else "")
    clips = sum(label in unseen for label in test)
    are = "is" if len(unseen) == 1 else "are"
    return (
        f"{counted(len(unseen), 'class', 'classes')} ({counted(clips, 'test sample')}) {are} in "
        f"test but not in train: {shown}"
    )
