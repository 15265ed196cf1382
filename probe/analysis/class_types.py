"""The arrow of time by what a class turns into when it is played backward.

*Equivariant* classes take their partner's label, *invariant* ones keep their own; *irreversible*
ones show something that does not happen, so the task leaves them out. A probe that does not see
order says one thing of both directions: right for invariant classes, half right for equivariant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from stepcli.probe.runs.metrics import Ints, named
from stepcli.probe.runs.predictions import Predictions

Type = Literal["equivariant", "invariant"]


@dataclass(frozen=True, slots=True)
class TypeRow:
    """The classes of one type, mean over seeds; fractions of 1."""

    type: Type
    classes: int
    samples: int
    """Of both directions."""
    top1: float
    forward: float
    """Top-1 of the samples that are shown as they were filmed."""
    backward: float
    turns: float
    """Samples whose backward answer is what the type makes of the forward one, right or wrong: its
    partner for equivariant classes, the same for invariant ones."""


def by_type(seeds: Sequence[Predictions], pairs: Sequence[tuple[int, int]]) -> tuple[TypeRow, ...]:
    """Results of the arrow task by type of class; one without samples is left out.

    Nothing where a sample is shown in one direction only, as in logits made elsewhere.

    Args:
        seeds: Of one configuration, on the same samples in both directions.
        pairs: Opposite classes by index; every class of the task that is in none is invariant.
    """
    reverse = _reverse(seeds[0])
    if reverse is None:
        return ()
    each = [_one_seed(seed, pairs, reverse) for seed in seeds]
    return tuple(
        TypeRow(
            rows[0].type,
            rows[0].classes,
            rows[0].samples,
            fmean(row.top1 for row in rows),
            fmean(row.forward for row in rows),
            fmean(row.backward for row in rows),
            fmean(row.turns for row in rows),
        )
        for rows in zip(*each, strict=True)
    )


def _one_seed(seed: Predictions, pairs: Sequence[tuple[int, int]], reverse: Ints) -> list[TypeRow]:
    turned = np.arange(seed.logits.shape[1])
    for a, b in pairs:
        turned[a], turned[b] = b, a
    said, right = named(seed.logits), seed.correct
    rows = []
    types: tuple[Type, ...] = ("equivariant", "invariant")
    for name in types:
        mine = (turned[seed.labels] != seed.labels) == (name == "equivariant")
        forward = mine & ~seed.backward
        if not forward.any():
            continue
        before, after = said[forward], said[reverse[forward]]
        turns = after == before
        if name == "equivariant":
            turns = (after == turned[before]) & ~turns
        rows.append(
            TypeRow(
                name,
                len(np.unique(seed.labels[mine])),
                int(mine.sum()),
                float(right[mine].mean()),
                float(right[forward].mean()),
                float(right[mine & seed.backward].mean()),
                float(turns.mean()),
            )
        )
    return rows


def _reverse(seed: Predictions) -> Ints | None:
    """[n]: row of the same frames shown in the other direction; None where one has none."""
    keys = list(zip(seed.clips, seed.starts.tolist(), seed.backward.tolist(), strict=True))
    row_of = {key: row for row, key in enumerate(keys)}
    others = [row_of.get((clip, start, not backward)) for clip, start, backward in keys]
    return None if None in others else np.array(others)
