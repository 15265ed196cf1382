"""Clips with any number of labels: each distinct set of labels has a number, samples carry that."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepcli.cache.schema.label_sets import labels_in, of_known
from stepcli.probe.config import TaskConfig
from stepcli.probe.config.task import MULTI_LABEL
from stepcli.probe.data.frame_choice import Ints
from stepcli.probe.data.splits import LabelledClips
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store


def set_numbers(table: LabelledClips) -> dict[str, int]:
    """Cell of the clips table -> number of its set; cells of one set may be written differently.

    Raises:
        UsageError: no training clip, or no test clip, has a label.
    """
    numbers: dict[tuple[str, ...], int] = {}
    for name, side in (("training", table.train), ("test", table.test)):
        if not any(labels_in(row.label) for row in side):
            raise UsageError(f"--task {MULTI_LABEL}: no {name} clip has a label")
    cells = dict.fromkeys(row.label for row in (*table.train, *table.test))
    return {cell: numbers.setdefault(labels_in(cell), len(numbers)) for cell in cells}


def label_sets(table: LabelledClips, numbers: Mapping[str, int]) -> NDArray[np.bool_]:
    """[sets, C]: which classes each set holds; the set of no label is one of them."""
    place = {name: i for i, name in enumerate(table.classes)}
    sets = np.zeros((len(set(numbers.values())), len(place)), np.bool_)
    for cell, number in numbers.items():
        sets[number, [place[name] for name in labels_in(cell)]] = True
    return sets


def members(sets: NDArray[np.bool_], numbers: Iterable[int]) -> set[int]:
    """The classes of some sets together."""
    return set(np.flatnonzero(sets[list(numbers)].any(axis=0)).tolist())


def mirrors(store: "Store", classes: Sequence[str]) -> Ints:
    """[C]: the class that a horizontal flip turns each one into, as the store's table says."""
    place = {name: i for i, name in enumerate(classes)}
    other = {row.name: row.mirror for row in store.classes() if row.mirror in place}
    return np.array([place[other.get(name, name)] for name in classes])


def require_one_label(config: TaskConfig, table: LabelledClips) -> None:
    """Refuse clips with several labels, or without one, which would become classes of their own.

    Raises:
        UsageError: some have several of the store's classes, or none.
    """
    rows = (*table.train, *table.test)
    joined = {row.label for row in rows if ";" in row.label}
    # A table of classes names each by itself; labels that it does not list come after those.
    single = [name for name in table.classes if name not in joined]
    several = [label for label in sorted(joined) if of_known(label, single)]
    if several:
        count = sum(row.label in several for row in rows)
        raise UsageError(
            f"--task {config.name} takes one label per clip, but {counted(count, 'clip')} have "
            f"several ({several[0]!r}): use --task {MULTI_LABEL}"
        )
    if blank := [row.id for row in rows if not row.label.strip()]:
        raise UsageError(
            f"--task {config.name} takes one label per clip, found "
            f"{counted(len(blank), 'clip')} of train and test without a label (e.g. {blank[0]!r}): "
            "give labels, or leave the column split of these clips blank (stepcli store labels "
            "--from)"
        )
