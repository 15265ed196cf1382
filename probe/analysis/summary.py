"""What finished runs say beyond top-1: pairs, classes and calibration, mean over seeds.

Made from the runs' folders alone: run.json and predictions.parquet. Numbers are fractions of 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.analysis.calibration import (
    Calibration,
    calibration,
    risk_coverage,
    softmax,
)
from stepcli.probe.analysis.class_types import TypeRow, by_type
from stepcli.probe.analysis.intervals import Interval, interval
from stepcli.probe.analysis.temperature import kept_calibration
from stepcli.probe.runs.configurations import Configuration
from stepcli.probe.runs.metrics import answers, mean_class_top_k, top_k
from stepcli.probe.runs.pairs import (
    ClassGroup,
    Pairs,
    PairScore,
    PairSummary,
    pair_scores,
    summarize_pairs,
    symmetric_and_other,
)
from stepcli.probe.runs.predictions import Predictions
from stepcli.runtime.errors import UsageError


@dataclass(frozen=True, slots=True)
class PairRow:
    """One pair, mean over seeds; fractions of 1."""

    a: str
    b: str
    samples: int
    forced_choice: float
    auc: float
    recall_a: float
    recall_b: float
    accuracy_either: float | None
    """Given that one of the two was predicted."""
    either: float
    """Samples for which that was so."""
    seeds: tuple[float, ...]
    """Forced choice of each seed."""


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """Means over seeds, before and after temperature scaling."""

    before: Calibration
    after: Calibration | None
    """None where `note` says why."""
    note: str
    risk_area: float
    """Mean risk over all coverages, before."""
    coverage_at_5: float
    """The largest share of samples that can be answered with at most 5 % wrong."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class."""

    name: str
    samples: int
    recall: float
    most_confused: str
    """Most frequent wrong prediction; "" if there is none."""
    confused_share: float
    partner: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the runs of one configuration say."""

    label: str
    method: str
    task: str
    split: str
    dataset: str
    seeds: int
    params: int
    samples: int
    top1: Interval
    top5: float
    mean_class: float
    mean_class_recall5: float | None
    """Of --task anticipate."""
    pairs: tuple[PairRow, ...]
    overall: PairSummary | None
    symmetric: ClassGroup | None
    """Classes that have a partner; mean over seeds."""
    other: ClassGroup | None
    types: tuple[TypeRow, ...]
    """In the arrow task the classes by what they turn into backward; otherwise empty."""
    calibration: CalibrationRow
    classes: tuple[ClassScore, ...]
    warnings: tuple[str, ...]


def analyse(found: Configuration, given: Pairs | None = None) -> Analysis:
    """Analyse one configuration.

    Raises:
        UnknownName: a given pair names a class that there is not.
        UsageError: the seeds were tested on different samples.
    """
    pairs = found.pairs(given)
    seeds = found.predictions()
    truth = seeds[0].labels
    scores = [pair_scores(seed.logits, truth, pairs) for seed in seeds]
    correct = np.stack([seed.correct for seed in seeds])
    summaries = [s for s in (summarize_pairs(list(each.values())) for each in scores) if s]
    halves = [symmetric_and_other(seed.logits, truth, pairs) for seed in seeds]
    first = found.first
    return Analysis(
        label=found.label,
        method=first.method,
        task=first.task,
        split=found.tested_on,
        dataset=first.dataset,
        seeds=len(seeds),
        params=first.params,
        samples=len(truth),
        top1=interval(*found.observed(correct, seeds[0].groups)),
        top5=fmean(top_k(seed.logits, truth, 5) for seed in seeds),
        mean_class=fmean(r.mean_class for r in found.records if r.mean_class is not None),
        mean_class_recall5=fmean(mean_class_top_k(seed.logits, truth, 5) for seed in seeds)
        if first.task == "anticipate"
        else None,
        pairs=tuple(
            _pair_row(found.classes[a], found.classes[b], [each[(a, b)] for each in scores])
            for a, b in scores[0]
        ),
        overall=_mean_summary(summaries),
        symmetric=_mean_group([half[0] for half in halves]),
        other=_mean_group([half[1] for half in halves]),
        types=by_type(seeds, found.pairs()) if first.task == "arrow" else (),
        calibration=_calibrate(found, seeds),
        classes=_class_rows(found, seeds, pairs),
        warnings=tuple(dict.fromkeys(w for r in found.records for w in r.warnings)),
    )


def _pair_row(a: str, b: str, scores: Sequence[PairScore]) -> PairRow:
    either = [score.accuracy_either for score in scores if score.accuracy_either is not None]
    return PairRow(
        a,
        b,
        scores[0].samples,
        fmean(score.forced_choice for score in scores),
        fmean(score.auc for score in scores),
        fmean(score.recall[0] for score in scores),
        fmean(score.recall[1] for score in scores),
        fmean(either) if either else None,
        fmean(score.either for score in scores),
        tuple(score.forced_choice for score in scores),
    )


def _mean_summary(each: Sequence[PairSummary]) -> PairSummary | None:
    if not each:
        return None
    return PairSummary(
        fmean(s.macro_forced_choice for s in each),
        fmean(s.micro_forced_choice for s in each),
        fmean(s.macro_auc for s in each),
        each[0].pairs,
        each[0].samples,
    )


def _mean_group(each: Sequence[ClassGroup | None]) -> ClassGroup | None:
    known = [group for group in each if group is not None]
    if not known:
        return None
    return ClassGroup(
        known[0].classes,
        known[0].samples,
        fmean(group.top1 for group in known),
        fmean(group.mean_class for group in known),
    )


def temperatures(found: Configuration) -> list[float] | None:
    """For each seed the temperature that `stepcli calibrate` has kept; None where one has none, or
    where each group has its own."""
    if found.leaves_a_group_out:
        return None
    kept = [kept_calibration(found.runs / record.run) for record in found.records]
    return None if None in kept else [each.temperature for each in kept if each is not None]


def _calibrate(found: Configuration, seeds: Sequence[Predictions]) -> CalibrationRow:
    before = _mean_calibration([calibration(seed.logits, seed.labels) for seed in seeds])
    curves = [risk_coverage(softmax(seed.logits), seed.labels) for seed in seeds]
    after, note = None, ""
    try:
        fitted = temperatures(found)
    except UsageError as error:
        fitted, note = None, str(error)
    if fitted is not None:
        after = _mean_calibration(
            [calibration(s.logits, s.labels, t) for s, t in zip(seeds, fitted, strict=True)]
        )
        if after.nll > before.nll:
            note = (
                f"the temperature {after.temperature:.2f} raises the NLL of these samples from "
                f"{before.nll:.3f} to {after.nll:.3f}, so it is not shown; remove it with stepcli "
                "calibrate --undo"
            )
            after = None
    elif not note:
        note = "no temperature was fitted on a slice of train: stepcli calibrate"
    return CalibrationRow(
        before,
        after,
        note,
        fmean(curve.area for curve in curves),
        fmean(curve.coverage_at(0.05) for curve in curves),
    )


def _mean_calibration(each: Sequence[Calibration]) -> Calibration:
    return Calibration(
        fmean(c.temperature for c in each),
        fmean(c.nll for c in each),
        fmean(c.brier for c in each),
        fmean(c.ece for c in each),
    )


def confusion(found: Configuration, seeds: Sequence[Predictions]) -> NDArray[np.float64]:
    """[C, C]: share of each class's samples (rows) that were given each class, mean over seeds."""
    size = len(found.classes)
    counts = np.zeros((size, size))
    for seed in seeds:
        np.add.at(counts, seed.labels, answers(seed.logits))
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _class_rows(
    found: Configuration, seeds: Sequence[Predictions], pairs: Sequence[tuple[int, int]]
) -> tuple[ClassScore, ...]:
    shares = confusion(found, seeds)
    partners: dict[int, list[str]] = {}
    for a, b in pairs:
        partners.setdefault(a, []).append(found.classes[b])
        partners.setdefault(b, []).append(found.classes[a])
    rows = []
    for index in np.unique(seeds[0].labels).tolist():
        wrong = shares[index].copy()
        recall, wrong[index] = float(wrong[index]), 0
        worst = int(wrong.argmax())
        rows.append(
            ClassScore(
                found.classes[index],
                int((seeds[0].labels == index).sum()),
                recall,
                found.classes[worst] if wrong[worst] > 0 else "",
                float(wrong[worst]),
                ", ".join(partners.get(index, [])),
            )
        )
    return tuple(rows)
