"""Draw a test split for clips that have none, without tearing a group apart."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field, replace

from stepcli.cache.clips import ClipRow
from stepcli.cache.durable import Place
from stepcli.cache.errors import UsageError
from stepcli.cache.store import open_store
from stepcli.cache.views import clip_of


@dataclass
class DrawnSplit:
    """Which clips went where."""

    train: int = 0
    test: int = 0
    kept: int = 0
    """Clips that have a split already; they keep it."""
    untested: list[str] = field(default_factory=list)
    """Classes without a test clip: none of their groups could be spared."""


def draw_split(root: Place, share: float, *, dry_run: bool = False) -> DrawnSplit:
    """Let about `share` of each class's groups be test, the others train.

    A clip without a group is a group of its own, with all its views. Which groups are taken
    follows from their names alone, so that the same store gets the same split again.

    Args:
        root: the store's folder.
        share: above 0 and below 1, of a class's groups.
        dry_run: only say what would change.

    Raises:
        UsageError: a share that is none, or no clip without a split.
    """
    if not 0 < share < 1:
        raise UsageError(f"--test-share {share:g}: expected a share above 0 and below 1, e.g. 0.25")
    store = open_store(root)
    rows = store.clips()
    free = [row for row in rows if not row.split]
    if not free:
        raise UsageError(
            f"every clip of {store.path} has a split; change them with stepcli store labels --from"
        )
    split_of, untested = _draw(free, share)
    drawn = DrawnSplit(kept=len(rows) - len(free), untested=untested)
    changed = []
    for row in rows:
        if not row.split:
            row = replace(row, split=split_of[_group(row)])
            drawn.test += row.split == "test"
            drawn.train += row.split == "train"
        changed.append(row)
    if not dry_run:
        store.replace_clips(changed)
    return drawn


def _draw(rows: list[ClipRow], share: float) -> tuple[dict[str, str], list[str]]:
    """Group -> split, and the classes without a test clip."""
    by_label: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        by_label[row.label].add(_group(row))
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


def _group(row: ClipRow) -> str:
    # The two kinds of names must not meet: a clip may be called like another clip's group.
    return f"group {row.group}" if row.group else f"clip {clip_of(row.id)}"


def _order(group: str) -> bytes:
    return hashlib.sha256(group.encode()).digest()
