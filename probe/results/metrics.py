"""How good logits are: pure functions of logits [n, C] and labels [n], each a fraction of 1."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]


def top_k(logits: Floats, labels: Ints, k: int) -> float:
    """Share of samples whose label is among the k largest logits (all of them where C <= k).

    Ties count against the label, so constant logits are not right by luck.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    rivals = (logits >= own).sum(axis=1) - 1
    return float((rivals < min(k, logits.shape[1])).mean())


def mean_class(logits: Floats, labels: Ints) -> float:
    """Mean of the recalls of the classes that are present."""
    predicted = logits.argmax(axis=1)
    recalls = [float((predicted[labels == c] == c).mean()) for c in np.unique(labels)]
    return float(np.mean(recalls))


def forced_choice(
    logits: Floats, labels: Ints, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], float]:
    """For each pair of classes: decide between the two alone, on all samples of the two.

    The larger of the two logits decides; a tie is half right. The value is the mean of the two
    recalls, so an uneven pair has chance 0.5 too. Pairs without samples of both are left out.
    """
    choices = {}
    for a, b in pairs:
        recalls = []
        for own, other in ((a, b), (b, a)):
            mine = logits[labels == own]
            margin = mine[:, own] - mine[:, other]
            recalls.append(float(((margin > 0) + 0.5 * (margin == 0)).mean()) if len(mine) else -1)
        if min(recalls) >= 0:
            choices[(a, b)] = sum(recalls) / 2
    return choices


def base_to_novel(logits: Floats, labels: Ints, base: int) -> dict[str, float]:
    """Top-1 of the first `base` classes' samples and of the others', and their harmonic mean."""
    right = logits.argmax(axis=1) == labels
    old, new = (float(right[side].mean()) for side in (labels < base, labels >= base))
    harmonic = 2 * old * new / (old + new) if old + new else 0.0
    return {"base_top1": old, "novel_top1": new, "harmonic": harmonic}


def summary(
    logits: Floats, labels: Ints, pairs: Sequence[tuple[int, int]]
) -> dict[str, float | None]:
    """The headline numbers; forced_choice is the mean over pairs, None without any."""
    choices = forced_choice(logits, labels, pairs)
    return {
        "top1": top_k(logits, labels, 1),
        "top5": top_k(logits, labels, 5),
        "mean_class": mean_class(logits, labels),
        "forced_choice": float(np.mean(list(choices.values()))) if choices else None,
    }
