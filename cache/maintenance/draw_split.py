"""Draw a test split for clips that have none; groups are never divided."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.groups import group_keys, plain_names
from stepcli.cache.schema.label_sets import of_known
from stepcli.cache.schema.split_names import normalise_split
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.duplicates import find_copies
from stepcli.cache.store.store import open_store
from stepcli.runtime.errors import UsageError


@dataclass
class DrawnSplit:
    """Which clips went where."""

    train: int = 0
    test: int = 0
    followed: int = 0
    """Clips that were given the split which other clips of their group have already."""
    kept: int = 0
    """Clips that have a split already; they keep it."""
    untested: list[str] = field(default_factory=list)
    """Classes without a test clip: none of their groups could be spared."""
    torn: list[str] = field(default_factory=list)
    """Groups whose clips have several splits already; their other clips stay without one."""


def draw_split(root: StoragePath, share: float, *, dry_run: bool = False) -> DrawnSplit:
    """Let about `share` of each class's groups be test, the others train.

    A clip without a group is a group of its own, with all its views; groups are united where a clip
    of one is a copy of a clip of another. A group that has a split in part keeps it: its other
    clips follow. Which of the other groups are taken follows from their names alone, so that the
    same store gets the same split again.

    Args:
        root: the store's folder.
        share: above 0 and below 1, of a class's groups that have no split at all.
        dry_run: only say what would change.

    Raises:
        UsageError: a share that is none, or no clip without a split.
    """
    if not 0 < share < 1:
        raise UsageError(f"--test-share {share:g}: expected a share above 0 and below 1, e.g. 0.25")
    store = open_store(root)
    copies = find_copies(store).sets  # before the table is locked: it takes a while
    classes = frozenset(row.name for row in store.classes())
    if dry_run:
        return _draw_into(store.clips(), copies, share, store.path, classes)[0]
    drawn: list[DrawnSplit] = []

    def draw(rows: list[ClipRow]) -> list[ClipRow]:
        plan, changed = _draw_into(rows, copies, share, store.path, classes)
        drawn[:] = [plan]
        return changed

    store.change_clips(draw)
    return drawn[0]


def _draw_into(
    rows: list[ClipRow],
    copies: Sequence[Sequence[str]],
    share: float,
    place: StoragePath,
    classes: Set[str] = frozenset(),
) -> tuple[DrawnSplit, list[ClipRow]]:
    """What is drawn for the rows of a clips table, and the rows with it."""
    if all(row.split.strip() for row in rows):
        raise UsageError(
            f"every clip of {place} has a split; to draw one again, write the table with stepcli "
            "store labels --to clips.csv, empty its column split, and read it with --from clips.csv"
        )
    keys = group_keys(rows, copies)
    given: dict[str, set[str]] = defaultdict(set)
    for row, key in zip(rows, keys, strict=True):
        if split := normalise_split(row.split):
            given[key].add(split)
    whole = [(row, key) for row, key in zip(rows, keys, strict=True) if key not in given]
    split_of, untested = _draw(whole, classes, share)
    drawn = DrawnSplit(untested=untested)
    changed, torn = [], set()
    for row, key in zip(rows, keys, strict=True):
        if row.split.strip():
            drawn.kept += 1
        elif key not in given:
            row = replace(row, split=split_of[key])
            drawn.test += row.split == "test"
            drawn.train += row.split == "train"
        elif len(given[key]) == 1:
            row = replace(row, split=next(iter(given[key])))
            drawn.followed += 1
        else:
            torn.add(key)
        changed.append(row)
    drawn.torn = plain_names(sorted(torn))
    return drawn, changed


def _draw(
    rows: list[tuple[ClipRow, str]], classes: Set[str], share: float
) -> tuple[dict[str, str], list[str]]:
    """Rows and their groups -> group to split, and the classes without a test clip.

    A clip with several labels counts in each of its classes.
    """
    by_label: dict[str, set[str]] = defaultdict(set)
    several = False
    for row, group in rows:
        names = of_known(row.label, classes)
        several = several or bool(names)
        for name in names or (row.label,):
            by_label[name].add(group)
    if several:
        return _draw_of_several(by_label, share)
    split_of: dict[str, str] = {}
    untested = []
    for label, groups in sorted(by_label.items()):
        # At least one of each, where there are two: a class of one group is for training.
        wanted = min(max(round(share * len(groups)), 1), len(groups) - 1)
        wanted -= sum(split_of.get(group) == "test" for group in groups)
        for group in sorted(groups - split_of.keys(), key=_order):
            split_of[group] = "test" if wanted > 0 else "train"
            wanted -= 1
        if all(split_of[group] == "train" for group in groups):
            untested.append(label)
    return split_of, untested


def _draw_of_several(
    by_label: dict[str, set[str]], share: float
) -> tuple[dict[str, str], list[str]]:
    """The same where clips have several labels: rare classes first, each until its share is test.

    A group is test only where each of its classes keeps another group for training.
    """
    every = set().union(*by_label.values())
    classes_of: dict[str, list[str]] = defaultdict(list)
    for label, groups in by_label.items():
        for group in groups:
            classes_of[group].append(label)
    test: set[str] = set()
    left = {label: len(groups) for label, groups in by_label.items()}
    for _, groups in sorted(by_label.items(), key=lambda item: (len(item[1]), item[0])):
        wanted = min(max(round(share * len(groups)), 1), len(groups) - 1)
        for group in sorted(groups - test, key=_order):
            if len(groups & test) >= wanted:
                break
            if all(left[label] > 1 for label in classes_of[group]):
                test.add(group)
                for label in classes_of[group]:
                    left[label] -= 1
    untested = sorted(label for label, groups in by_label.items() if not groups & test)
    return {group: "test" if group in test else "train" for group in every}, untested


def _order(group: str) -> bytes:
    return hashlib.sha256(group.encode()).digest()
