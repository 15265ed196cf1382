"""How good logits are: pure functions of logits [n, C] and labels [n], each a fraction of 1.

One rule for ties, here and wherever a probe's answers are counted: classes with equal logits share
the place, so a label that ties with m - 1 others for the first place is 1/m right. That is what
breaking ties at random gives on average; constant logits get chance, 1/C, in top-1, in mean class
accuracy, in each class and on any mix of classes. Where one class must be named, as in `predicted`
and in a change of the answer, it is the first of those that tie.
"""

from collections.abc import Sequence
from math import comb
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
Shares = NDArray[np.float64]

MEAN_AP = "mAP"
"""Column of tables in which some run has any number of labels per clip."""
METRICS = ("top1", "top5", "mean_class", "forced_choice")
"""The headline numbers of a run in the order of tables."""


class Headline(TypedDict):
    """The headline numbers of a run."""

    top1: float
    top5: float
    mean_class: float | None
    forced_choice: float | None
    """Mean over pairs; None without any."""


class BaseToNovel(TypedDict, total=False):
    """The numbers of the protocol base-to-novel; none of them elsewhere."""

    base_top1: float
    novel_top1: float
    harmonic: float


def credit(logits: Floats, labels: Ints, k: int = 1) -> Shares:
    """How far each label is among the k largest logits, [n]: 1 or 0, in between only for ties.

    Of t logits tied with the label's, g being larger, (k - g) / t have a place among the first k. A
    logit that is no number is never right.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    larger, tied = (logits > own).sum(axis=1), (logits == own).sum(axis=1)
    share: Shares = np.clip((k - larger) / np.maximum(tied, 1), 0, 1)
    return np.where(tied > 0, share, 0.0)


def answers(logits: Floats) -> Shares:
    """[n, C]: the answer of each row, 1 for the class of the largest logit; ties share it.

    The label's column is `credit`. Rows without a number have no answer: all 0.
    """
    best = logits == logits.max(axis=1, keepdims=True)
    shares: Shares = best / np.maximum(best.sum(axis=1, keepdims=True), 1)
    return shares


def named(logits: Floats) -> Ints:
    """[n]: the one class that is named: that of the largest logit, the first of those that tie."""
    first: Ints = logits.argmax(axis=1)
    return first


def top_k(logits: Floats, labels: Ints, k: int) -> float:
    """Share of samples whose label is among the k largest logits (all of them where C <= k)."""
    return float(credit(logits, labels, k).mean())


def mean_class(logits: Floats, labels: Ints) -> float:
    """Mean of the recalls of the classes that are present."""
    return mean_class_top_k(logits, labels, 1)


def mean_class_top_k(logits: Floats, labels: Ints, k: int) -> float:
    """Mean over the classes that are present of their recall among the k largest logits."""
    right = credit(logits, labels, k)
    return float(np.mean([right[labels == c].mean() for c in np.unique(labels)]))


def chosen_over(logits: Floats, labels: Ints, own: int, other: int) -> Shares:
    """Forced choice on the samples of one class, [its samples]: 1 where its logit is the larger of
    the two classes', 0.5 for a tie."""
    mine = logits[labels == own]
    margin = mine[:, own].astype(np.float64) - mine[:, other]
    return np.where(margin == 0, 0.5, margin > 0)


def forced_choice(
    logits: Floats, labels: Ints, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], float]:
    """For each pair of classes: decide between the two alone, on all samples of the two.

    The larger of the two logits decides; a tie is half right. The value is the mean of the two
    recalls, so an uneven pair has chance 0.5 too. Pairs without samples of both are left out.
    """
    choices = {}
    for a, b in pairs:
        recalls = [chosen_over(logits, labels, a, b), chosen_over(logits, labels, b, a)]
        if all(map(len, recalls)):
            choices[(a, b)] = float(sum(recall.mean() for recall in recalls)) / 2
    return choices


def base_to_novel(logits: Floats, labels: Ints, base: int) -> BaseToNovel:
    """Top-1 of the first `base` classes' samples and of the others', and their harmonic mean."""
    right = credit(logits, labels)
    old, new = (float(right[side].mean()) for side in (labels < base, labels >= base))
    harmonic = 2 * old * new / (old + new) if old + new else 0.0
    return {"base_top1": old, "novel_top1": new, "harmonic": harmonic}


def summary(logits: Floats, labels: Ints, pairs: Sequence[tuple[int, int]]) -> Headline:
    """The headline numbers."""
    choices = forced_choice(logits, labels, pairs)
    return {
        "top1": top_k(logits, labels, 1),
        "top5": top_k(logits, labels, 5),
        "mean_class": mean_class(logits, labels),
        "forced_choice": float(np.mean(list(choices.values()))) if choices else None,
    }


def average_precision(scores: Floats, relevant: NDArray[np.bool_]) -> float:
    """Area under the steps of precision over recall: sum of (recall gained) x precision.

    Equal scores are one threshold, so constant scores get the share of relevant samples.

    Args:
        scores: [n]
        relevant: [n], True for samples that have the label; at least one.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], np.cumsum(relevant[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    precision = right[last] / (last + 1)
    return float((np.diff(right[last], prepend=0) * precision).sum() / right[-1])


def multi_label_map(scores: Floats, relevant: NDArray[np.bool_]) -> float | None:
    """Mean average precision over the labels that some sample has, as Charades counts it
    (arXiv 1604.01753); None where no sample has any.

    Args:
        scores: [n, C]
        relevant: [n, C], True where a sample has a label; it may have several or none.
    """
    present = np.flatnonzero(relevant.any(axis=0))
    every = [average_precision(scores[:, c], relevant[:, c]) for c in present]
    return float(np.mean(every)) if every else None


def hits(scores: Floats, relevant: NDArray[np.bool_], k: int = 1) -> Shares:
    """Of samples with any number of labels: how far one of them is among the k largest, [n].

    A sample without a label has no hit. Ties share the places: of t scores tied for the last m of
    them, r of which are labels, the chance that one is drawn is 1 - C(t - r, m) / C(t, m).
    """
    k = min(k, scores.shape[1])
    limit = -np.sort(-scores, axis=1)[:, k - 1, None]
    above, tied = scores > limit, scores == limit
    free = k - above.sum(axis=1)
    count, mine = tied.sum(axis=1), (tied & relevant).sum(axis=1)
    missed = np.array(
        [
            comb(int(t - r), int(m)) / comb(int(t), int(m)) if t else 1.0
            for t, r, m in zip(count, mine, free, strict=True)
        ]
    )
    found: Shares = np.where((above & relevant).any(axis=1), 1.0, 1.0 - missed)
    return found


def multi_label_summary(scores: Floats, relevant: NDArray[np.bool_]) -> Headline:
    """The headline numbers where a sample has any number of labels, without mAP: shares of samples
    whose best score, or one of whose five best, is of a label."""
    return {
        "top1": float(hits(scores, relevant).mean()),
        "top5": float(hits(scores, relevant, 5).mean()),
        "mean_class": None,
        "forced_choice": None,
    }
