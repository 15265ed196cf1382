"""Parts of the training clips that are held out in place of the test split: slices and folds.

Both go by group, united over copies: a group is held out whole or not at all.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.leakage import Leakage
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.splits import LabelledClips
from stepcli.probe.data.tasks import Task
from stepcli.runtime.errors import UsageError

KEPT = -1
"""In place of a fold: a group that is always trained on."""


def hold_out(table: LabelledClips, share: float, seed: int) -> LabelledClips:
    """Hold out a slice of the training clips in place of the test split.

    Groups stay whole, copies with them, and no class loses its last training clip; within that
    every class gives about the same share. Where groups and classes conflict, the share gives way,
    and a note reports it.

    Raises:
        UsageError: no group can be held out.
    """
    groups: dict[str, list[ClipRow]] = {}
    for row in table.train:
        groups.setdefault(table.group(row), []).append(row)
    left = _labels(table, table.train)
    wanted = {label: max(1, round(share * n)) for label, n in left.items()}
    held: list[ClipRow] = []
    names = sorted(groups)
    for place in np.random.default_rng(seed).permutation(len(names)):
        members = groups[names[place]]
        labels = _labels(table, members)
        fits = all(wanted[label] >= n for label, n in labels.items())
        if fits and all(left[label] > n for label, n in labels.items()):
            wanted = {label: n - labels[label] for label, n in wanted.items()}
            left -= labels
            held += members
    if not held:
        raise UsageError(
            f"no slice of {share:.0%} can be held out of {len(table.train)} training clips in "
            f"{len(names)} groups without splitting a group or emptying a class; take a larger "
            "slice_share, or give the clips finer groups"
        )
    ids = {row.id for row in held}
    short = sum(n > 0 for n in wanted.values())
    warnings = list(table.warnings)
    if short:
        warnings.append(
            f"the held-out slice is short of clips of {short} classes: groups stay whole"
        )
    return replace(
        table,
        train=tuple(row for row in table.train if row.id not in ids),
        test=tuple(row for row in table.train if row.id in ids),
        warnings=tuple(warnings),
    )


def fold_of_groups(table: LabelledClips, folds: int, seed: int) -> dict[str, int]:
    """Deal the groups of the training clips to folds, so that each has about the same classes.

    Large groups come first, in an order drawn by the seed; each goes where the fewest clips of its
    classes are. Of every class at least one group stays outside each fold: no class loses its last
    training clip. A group that would break this is in no fold.

    Returns:
        Group -> fold, or KEPT.
    """
    members = _groups(table)
    totals = _labels(table, table.train)
    owners: dict[str, int] = Counter(
        label for labels in members.values() for label in labels
    )  # groups that have each class
    clips = [Counter[str]() for _ in range(folds)]
    dealt = [Counter[str]() for _ in range(folds)]
    names = sorted(members)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    fold_of: dict[str, int] = {}
    for name in sorted(order, key=lambda name: -members[name].total()):
        labels = members[name]
        free = [
            fold
            for fold in range(folds)
            if all(dealt[fold][label] + 1 < owners[label] for label in labels)
        ]
        if not free:
            fold_of[name] = KEPT
            continue

        def crowd(fold: int, labels: Mapping[str, int] = labels) -> tuple[float, int]:
            mine = sum(n * clips[fold][label] / totals[label] for label, n in labels.items())
            return mine, clips[fold].total()

        best = min(free, key=crowd)
        fold_of[name] = best
        clips[best] += labels
        dealt[best].update(labels.keys())
    return fold_of


def most_folds(table: LabelledClips, wanted: int, seed: int) -> int:
    """The largest number of folds, at most `wanted`, that all get a group; 0 where 2 do not."""
    for folds in range(min(wanted, len(_groups(table))), 1, -1):
        if len(set(fold_of_groups(table, folds, seed).values()) - {KEPT}) == folds:
            return folds
    return 0


def hold_out_fold(table: LabelledClips, folds: int, fold: int, seed: int) -> LabelledClips:
    """Hold out one fold of the training clips in place of the test split.

    Raises:
        UsageError: the fold has no group.
    """
    fold_of = fold_of_groups(table, folds, seed)
    held = {row.id for row in table.train if fold_of[table.group(row)] == fold}
    if not held:
        raise UsageError(
            f"fold {fold} of {folds} has no clip: the training clips have too few groups"
        )
    return replace(
        table,
        train=tuple(row for row in table.train if row.id not in held),
        test=tuple(row for row in table.train if row.id in held),
    )


def held_out(table: LabelledClips, config: TaskConfig) -> LabelledClips:
    """What a task trains and reports on: as it is, on a slice of train, or on a fold of it; of all
    folds in one pass all of train, and each clip that is ever held out.

    Raises:
        UsageError: the slice or fold cannot be held out.
    """
    if config.slice_seed is None:
        return table
    if config.folds is None:
        return hold_out(table, config.slice_share, config.slice_seed)
    if config.fold is not None:
        return hold_out_fold(table, config.folds, config.fold, config.slice_seed)
    fold_of = fold_of_groups(table, config.folds, config.slice_seed)
    held = tuple(row for row in table.train if fold_of[table.group(row)] != KEPT)
    return replace(table, test=held)


def in_folds(task: Task, table: LabelledClips, config: TaskConfig) -> Task:
    """A task of all folds in one pass, with each clip's fold; any other task as it is."""
    if config.folds is None or config.fold is not None or config.slice_seed is None:
        return task
    fold_of = fold_of_groups(table, config.folds, config.slice_seed)
    # Each probe is tested on its fold alone, which shares nothing with what it was trained on.
    own = [line for line in task.warnings if line not in task.leakage.warnings]
    return replace(
        task,
        fold_of=np.array([fold_of[group] for group in task.groups]),
        folds=config.folds,
        leakage=Leakage(task.leakage.test_clips),
        warnings=tuple(own),
    )


def _groups(table: LabelledClips) -> dict[str, Counter[str]]:
    """Of each group of the training clips how many clips of each class it has."""
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for row in table.train:
        members[table.group(row)].update(table.labels(row))
    return members


def _labels(table: LabelledClips, rows: Iterable[ClipRow]) -> Counter[str]:
    """How many of the clips have each class."""
    return Counter(name for row in rows for name in table.labels(row))
