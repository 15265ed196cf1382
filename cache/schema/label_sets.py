"""Clips with several labels: their names in the one column for labels, joined by ";"."""

from collections.abc import Iterable

from stepcli.runtime.errors import UsageError

SEPARATOR = ";"


def labels_in(text: str) -> tuple[str, ...]:
    """The names in a cell, each once, in alphabetical order; none of an empty cell."""
    return tuple(sorted({name.strip() for name in text.split(SEPARATOR)} - {""}))


def joined_labels(names: Iterable[str]) -> str:
    """The cell of a clip with these labels; "" without any.

    Raises:
        UsageError: a name holds the separator.
    """
    chosen = sorted(set(names))
    if wrong := [name for name in chosen if SEPARATOR in name]:
        raise UsageError(
            f"the class {wrong[0]!r} holds {SEPARATOR!r}, which separates the labels of a clip; "
            "rename the class"
        )
    return SEPARATOR.join(chosen)


def of_known(text: str, known: Iterable[str]) -> tuple[str, ...]:
    """The names in a cell where it is no class itself, but several that are known; else ()."""
    classes = set(known)
    names = labels_in(text)
    several = text not in classes and SEPARATOR in text and classes.issuperset(names)
    return names if several else ()
