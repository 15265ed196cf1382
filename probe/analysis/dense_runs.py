"""All runs of --task dense below a folder: their twins trained, their scores kept and summed up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepcli.probe.analysis.dense import (
    MOST_FOLDS,
    TruthTable,
    choose_smoothing,
    group_means,
    groups_of_recordings,
    pooled,
    score,
)
from stepcli.probe.analysis.dense_scores import DenseScores, write_scores
from stepcli.probe.data.slices import most_folds
from stepcli.probe.runs.configurations import Configuration
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.runs.stats import PairedDifference, accuracy_interval
from stepcli.probe.sweeps.holding import FOLD_SEED, on_fold
from stepcli.probe.sweeps.of_store import not_of_run
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.errors import StoreNotFound, UsageError
from stepcli.runtime.words import counted

TASK = "dense"


@dataclass(frozen=True, slots=True)
class DenseRow:
    """One configuration, over its seeds."""

    label: str
    seeds: tuple[DenseScores, ...]
    recordings: int
    edit: PairedDifference
    """Mean over recordings, with its interval over seeds and groups of recordings."""
    f1_50: PairedDifference
    """The same of each recording's own F1@50; the pooled one is in `seeds`."""

    def mean(self, name: str, key: str = "") -> float:
        """Mean over seeds of a field, or of one of its values."""
        values = [getattr(one, name) for one in self.seeds]
        return float(np.mean([value[key] if key else value for value in values]))


def dense_rows(
    runs: Path, found: Sequence[Configuration], store: Path | None, device: str
) -> tuple[list[DenseRow], dict[str, str]]:
    """Label and score the test recordings of every run, and keep the scores beside it.

    Args:
        runs: Folder of the runs.
        found: Configurations; those of other tasks are left out.
        store: Where their store is now; None: where it was.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        A row per configuration; and those without one, with the reason: a store that is not where
        it was or has other tokens now, or a run that leaves a group out.

    Raises:
        UsageError: no run of the task, none that has a row, or too few recordings to choose by.
    """
    dense = [each for each in found if each.first.task == TASK and not each.first.imported]
    if not dense:
        raise UsageError(f"{runs} holds no run of --task dense; train with stepcli probe first")
    by_place: dict[Path, list[Configuration]] = {}
    refused: dict[str, str] = {}
    for each in dense:
        if each.leaves_a_group_out:
            refused[each.label] = "it leaves one group out, and stepcli dense needs a test split"
            continue
        place = Path(each.first.store_place) if store is None else store
        by_place.setdefault(place, []).append(each)
    rows = {}
    for place, members in by_place.items():
        try:
            session = Session(place, runs, device)
        except StoreNotFound as error:
            refused |= {each.label: str(error) for each in members}
            continue
        fitting = []
        for each in members:
            if reason := not_of_run(session, each.first, each.label):
                refused[each.label] = reason
            else:
                fitting.append(each)
        twins = _twins(fitting, session) if fitting else {}
        for each in fitting:
            rows[each.label] = _row(runs, each, session, twins)
    if not rows:
        raise UsageError("; ".join(f"{label}: {reason}" for label, reason in refused.items()))
    return [rows[each.label] for each in dense if each.label in rows], refused


def _row(
    runs: Path, each: Configuration, session: Session, twins: Mapping[str, list[RunRecord]]
) -> DenseRow:
    first = each.first
    table = TruthTable(session.store, first.classes)
    frames = session.store.spec.frames
    scores = []
    for record in each.records:
        folds = twins[record.run]
        held = pooled([read_predictions(runs / twin.run) for twin in folds])
        how = choose_smoothing(held, table, frames)
        chosen_on = (
            f"{counted(len(groups_of_recordings(held)), 'recording')} of train, each by a probe "
            f"that has not seen it ({len(folds)} folds)"
        )
        said = read_predictions(runs / record.run)
        scores.append(score(said, table, first.classes, frames, how, chosen_on))
        write_scores(runs / record.run, scores[-1])
    group_of = groups_of_recordings(said)
    names = sorted(group_of)
    groups = [group_of[name] for name in names]
    edit, f1 = (
        accuracy_interval(group_means(scores, names, value), groups) for value in ("edit", "f1_50")
    )
    return DenseRow(each.label, tuple(scores), len(names), edit, f1)


def _twins(found: Sequence[Configuration], session: Session) -> dict[str, list[RunRecord]]:
    """For each run the runs of the same settings, each without one fold of train: all in as few
    passes as there are tasks."""
    records = [record for each in found for record in each.records]
    settings = [record.settings for record in records]
    tables = [session.tables.of_task(one.task) for one in settings]
    folds = min(most_folds(table, MOST_FOLDS, FOLD_SEED) for table in tables)
    if not folds:
        raise UsageError(
            "the recordings of train cannot be dealt to folds to choose smoothing by: every class "
            "needs recordings of two groups at least, and groups that copies join count as one "
            "(stepcli store duplicates)"
        )
    configs = [on_fold(one, folds, fold) for one in settings for fold in range(folds)]
    trained = session.run(configs)
    return {
        record.run: trained[place * folds : (place + 1) * folds]
        for place, record in enumerate(records)
    }
