"""Warnings about the classes of a list: a single one, or splits that hardly share any."""

from collections.abc import Collection

from stepcli.runtime.words import counted, listed

CLASSES_SHARED = 0.5
"""Least share of the smaller split's classes that the other one has; below it a warning."""


def single_class(labels: Collection[str]) -> str | None:
    """A warning where several labels are the same one, else None."""
    names = set(labels)
    if len(names) != 1 or len(labels) == 1:
        return None
    return (
        f"all {counted(len(labels), 'clip')} have one label ({next(iter(names))!r}), so the "
        "score says nothing; check the labels"
    )


def unused_classes(table: Collection[str], labels: Collection[str]) -> str | None:
    """A warning where classes of the table have no clip, as after a class was renamed by its clips'
    labels; else None.

    Args:
        table: names of the store's classes.
        labels: of its clips.
    """
    unused = sorted(set(table).difference(labels))
    if not unused:
        return None
    have, are = ("has", "is an output") if len(unused) == 1 else ("have", "are outputs")
    return (
        f"{len(unused):,} of the store's {counted(len(table), 'class', 'classes')} {have} no clip "
        f"({listed(map(repr, unused))}) and {are} of the probes all the same; to remove them, edit "
        "a copy of classes.csv: stepcli store labels --classes copy.csv"
    )


def different_classes(
    train: Collection[str], test: Collection[str], names: tuple[str, str] = ("train", "test")
) -> str | None:
    """A warning where two splits share less than half of the smaller one's classes, else None.

    Args:
        train: labels of one split.
        test: labels of the other one.
        names: of the two.
    """
    one, other = set(train), set(test)
    shared = one & other
    if not one or not other or len(shared) >= CLASSES_SHARED * min(len(one), len(other)):
        return None
    alone = [f"{label!r}" for label in sorted(other - one)]
    return (
        f"{names[0]} has {counted(len(one), 'class', 'classes')}, {names[1]} has {len(other):,}, "
        f"{len(shared):,} in both (only in {names[1]}: {listed(alone)}); check the labels"
    )
