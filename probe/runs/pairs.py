"""Nearly symmetric classes: which they are, and how well a probe tells each pair apart.

Pure functions of logits [n, C], labels [n] and pairs of class indices. The headline is the forced
choice (metrics.py): over all samples of the two classes, so a probe cannot escape into a third.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepcli.cache.schema.alike import composed
from stepcli.probe.runs.metrics import (
    Floats,
    Ints,
    answers,
    chosen_over,
    credit,
    forced_choice,
)
from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.errors import UsageError

Pairs = tuple[tuple[str, str], ...]


def read_pairs(path: Path, *, several: bool = False) -> Pairs:
    """Nearly symmetric classes from a CSV file with the columns label and partner.

    Args:
        path: The file; both directions of a pair may be listed.
        several: Let a class have several partners, as in some lists of the literature. Where a
            clip is played backward its label must become one other, so there it has only one.

    Raises:
        UsageError: the file is not there, or is not such a table.
    """
    rows = read_csv(path, ("label", "partner"))
    pairs = [(composed(row["label"]), composed(row["partner"])) for row in rows]
    seen: dict[str, str] = {}
    for pair in pairs:
        for label, partner in (pair, pair[::-1]):
            if not label or label == partner:
                raise UsageError(
                    f"{path}: {label!r} is paired with {partner!r}; each class has a partner, "
                    "another than itself"
                )
            if seen.setdefault(label, partner) != partner and not several:
                raise UsageError(
                    f"{path}: {label!r} is paired with {partner!r} and with {seen[label]!r}; each "
                    "class has one partner, another than itself"
                )
    # A table may list both directions; one of them is the pair.
    return tuple(dict.fromkeys(pair if pair[0] < pair[1] else pair[::-1] for pair in pairs))


@dataclass(frozen=True, slots=True)
class PairScore:
    """How one pair (a, b) is told apart; fractions of 1."""

    samples: int
    """Of both classes together."""
    forced_choice: float
    """Mean of the two recalls where only the pair's logits compete; a tie is half right."""
    right: float
    """Samples that the forced choice has right; out of `samples`."""
    auc: float
    """Area under the ROC curve of the difference of the two logits."""
    recall: tuple[float, float]
    """Of a and of b, where all classes compete."""
    either: float
    """Samples for which one of the two classes was predicted; a tie counts its share."""
    accuracy_either: float | None
    """Share of those that are right; None where there are none."""


def pair_scores(
    logits: Floats, labels: Ints, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], PairScore]:
    """Score each pair that has samples of both classes; a class in two pairs counts in each."""
    said = answers(logits)
    scores = {}
    for (a, b), choice in forced_choice(logits, labels, pairs).items():
        is_a, is_b = labels == a, labels == b
        margin = logits[:, a].astype(np.float64) - logits[:, b]
        mine, truth = said[is_a | is_b], labels[is_a | is_b]
        either = float(mine[:, [a, b]].sum())
        right = float(np.take_along_axis(mine, truth[:, None], axis=1).sum())
        chosen = (chosen_over(logits, labels, a, b), chosen_over(logits, labels, b, a))
        scores[(a, b)] = PairScore(
            samples=int((is_a | is_b).sum()),
            forced_choice=choice,
            right=float(sum(each.sum() for each in chosen)),
            auc=area_under_curve(margin[is_a], margin[is_b]),
            recall=(float(said[is_a, a].mean()), float(said[is_b, b].mean())),
            either=either,
            accuracy_either=right / either if either else None,
        )
    return scores


def area_under_curve(positive: Floats, negative: Floats) -> float:
    """Chance that a positive scores above a negative, ties half (Mann & Whitney 1947).

    Args:
        positive: Scores of the positives, [m].
        negative: Scores of the negatives, [n].
    """
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    not_above = np.searchsorted(ordered, positive, side="right")
    return float((below + not_above).sum() / (2 * len(positive) * len(negative)))


@dataclass(frozen=True, slots=True)
class PairSummary:
    """All pairs of a data set together; fractions of 1."""

    macro_forced_choice: float
    """Mean over pairs."""
    micro_forced_choice: float
    """Over samples; a sample of a class in two pairs counts twice."""
    macro_auc: float
    pairs: int
    samples: int


def summarize_pairs(scores: Sequence[PairScore]) -> PairSummary | None:
    """Macro and micro means; None without a pair."""
    if not scores:
        return None
    samples = sum(score.samples for score in scores)
    return PairSummary(
        float(np.mean([score.forced_choice for score in scores])),
        sum(score.right for score in scores) / samples,
        float(np.mean([score.auc for score in scores])),
        len(scores),
        samples,
    )


@dataclass(frozen=True, slots=True)
class ClassGroup:
    """Top-1 over some of the classes, where all compete."""

    classes: int
    """Of them present among the samples."""
    samples: int
    top1: float
    mean_class: float


def symmetric_and_other(
    logits: Floats, labels: Ints, pairs: Sequence[tuple[int, int]]
) -> tuple[ClassGroup | None, ClassGroup | None]:
    """Accuracy on the classes that have a partner, and on those that have none.

    Returns:
        The two; None for one without samples.
    """
    paired = np.isin(labels, [c for pair in pairs for c in pair])
    return _class_group(logits, labels, paired), _class_group(logits, labels, ~paired)


def _class_group(logits: Floats, labels: Ints, chosen: np.ndarray) -> ClassGroup | None:
    if not chosen.any():
        return None
    labels, right = labels[chosen], credit(logits, labels)[chosen]
    present = np.unique(labels)
    recalls = [float(right[labels == c].mean()) for c in present]
    return ClassGroup(len(present), len(labels), float(right.mean()), float(np.mean(recalls)))
