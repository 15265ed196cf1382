"""`results --across`: the same methods on several data sets, and their mean rank.

What shares a row or a column: across_names.py. Ranks are over the methods that every ranked column
has, so that a method does not gain by not being tested where it is weak.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.analysis.across_names import (
    column_key,
    column_names,
    dataset_of,
    row_names,
    run_key,
    task_words,
)
from stepcli.probe.config import TaskConfig
from stepcli.probe.runs.configurations import by_seed
from stepcli.probe.runs.labels import tables_word
from stepcli.probe.runs.leakage import leakage_notes
from stepcli.probe.runs.metrics import MEAN_AP
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.ranks import Observed, RankStability, average_ranks, rank_stability
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.runs.stats import FEWEST_GROUPS
from stepcli.probe.runs.table import NO_COPIES
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted, listed

Sample = tuple[str, str, int, bool]
"""Split or group of several, clip, first frame, direction."""
Found = tuple[Path, RunRecord]
"""A run and the folder of runs that it is in."""


@dataclass(frozen=True)
class Cell:
    """One method on one data set."""

    runs: tuple[Found, ...]
    samples: tuple[Sample, ...]
    """Of each seed; empty where the seeds were tested on different samples."""
    groups: tuple[str, ...]
    observed: Observed | None
    """Of groups in alphabetical order; None where the seeds were tested on different samples."""

    @property
    def seeds(self) -> int:
        """How many."""
        return len({run.seed for _, run in self.runs})

    @property
    def values(self) -> list[float]:
        """Top-1, or mAP, of each seed; of several splits or groups the mean over seeds of each."""
        parts: dict[str | None, list[float]] = {}
        for _, run in self.runs:
            parts.setdefault(run.part, []).append(run.headline)
        if len(parts) > 1 or self.runs[0][1].held_group is not None:
            return [fmean(values) for values in parts.values()]
        return [run.headline for _, run in self.runs]

    @property
    def score(self) -> float:
        """Their mean."""
        return fmean(self.values)


@dataclass(frozen=True)
class Column:
    """One data set, asked in one way."""

    name: str
    """Of the data set, with what tells it from the other columns."""
    about: str
    """All of it: task with its settings, split, backbone, samples and groups."""
    first: RunRecord
    cells: Mapping[str, Cell]
    """By row."""
    kept: frozenset[str]
    """Rows that were tested on the same samples."""
    ranked: bool
    """Whether it counts in the ranks: it has two of these or more."""
    groups: int

    @property
    def metric(self) -> str:
        """What its numbers are."""
        return MEAN_AP if self.first.several_labels else "top1"


@dataclass(frozen=True)
class Across:
    """Methods by data sets."""

    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    """The best first: those with a rank, then the others."""
    ranks: Mapping[str, RankStability]
    """Of the methods that every ranked column has; empty where there are fewer than two."""
    intervals: bool
    """Whether every ranked column has the groups that an interval needs."""
    notes: tuple[str, ...]

    def rank(self, row: str, column: Column) -> float | None:
        """Rank of a method among those that are ranked; None where it is not."""
        if row not in self.ranks or not column.ranked:
            return None
        scores = np.array([column.cells[name].score for name in self.ranks])
        return float(average_ranks(scores)[list(self.ranks).index(row)])


def across(found: Sequence[Found]) -> Across:
    """Runs of several data sets, tasks or stores as one table.

    Raises:
        UsageError: they are all of one, or predictions cannot be read.
    """
    runs = _once(found)
    records = [run for _, run in runs]
    places: dict[str, list[Found]] = {}
    for folder, run in runs:
        places.setdefault(column_key(run, records), []).append((folder, run))
    if len(places) < 2:
        raise UsageError(
            "--across puts several data sets or tasks side by side, but all runs are of "
            f"{dataset_of(records[0])}, task {records[0].task}; give several folders: stepcli "
            "results runs/a runs/b --across"
        )
    members = [[run for _, run in each] for each in places.values()]
    for each in members:
        _require_one_table(each)
    rows = row_names(members)
    notes: list[str] = []
    columns = [
        _column(name, each, rows, notes)
        for name, each in zip(column_names(members), places.values(), strict=True)
    ]
    columns.sort(key=lambda column: column.name)
    for column in columns:
        every = [run for cell in column.cells.values() for _, run in cell.runs]
        copies = f"{NO_COPIES} of stepcli results"
        notes += [f"{column.name}: {note}" for note in leakage_notes(every, copies)]
    return _ranked(columns, notes)


def _require_one_table(column: Sequence[RunRecord]) -> None:
    """Refuse to rank runs on labels of before and after a change of the store's tables.

    Raises:
        UsageError: some were.
    """
    tables = sorted({tables_word(run) for run in column if run.tables})
    if len(tables) > 1:
        raise UsageError(
            f"--across: {dataset_of(column[0])}, task {column[0].task}, has runs on several states "
            f"of the store's labels, splits or groups ({', '.join(tables)}); choose with e.g. "
            f"--set {tables[0]}"
        )


def _once(found: Sequence[Found]) -> list[Found]:
    """Each run once, also where it was copied to a second folder."""
    runs: dict[tuple[str, str], Found] = {}
    for folder, run in found:
        runs.setdefault(run_key(run), (folder, run))
    return list(runs.values())


def _column(
    name: str, members: Sequence[Found], rows: Mapping[tuple[str, str], str], notes: list[str]
) -> Column:
    by_row: dict[str, list[Found]] = {}
    for each in members:
        by_row.setdefault(rows[run_key(each[1])], []).append(each)
    cells = {row: _cell(found) for row, found in by_row.items()}
    usual = Counter(cell.samples for cell in cells.values() if cell.samples).most_common(1)
    samples = usual[0][0] if usual else ()
    kept = {row: cell for row, cell in cells.items() if cell.samples == samples and samples}
    odd = [row for row in cells if row not in kept]
    if odd:
        notes.append(
            f"{name}: {listed(odd, 8)} not ranked there: tested on other samples than the others, "
            "or seeds on different ones (an unfinished sweep, or splits that were changed)"
        )
    first = next((run for _, run in members if not run.imported), members[0][1])
    groups = sorted({group for cell in kept.values() for group in cell.groups})
    about = [
        f"task {task_words(first, TaskConfig().model_dump(mode='json'))}",
        f"tested on {first.split}",
        f"backbone {first.backbone}" if first.backbone else "",
        f"{counted(len(samples), 'sample')} in {counted(len(groups), 'group')}",
    ]
    said = f"{name}: {', '.join(filter(None, about))}"
    return Column(name, said, first, cells, frozenset(kept), len(kept) > 1, len(groups))


def _cell(found: Sequence[Found]) -> Cell:
    """One method of one column, with what its seeds had right."""
    folders = {run.run: folder for folder, run in found}
    seeds: list[dict[Sample, tuple[str, float]]] = []
    for records in by_seed([run for _, run in found]):
        seed: dict[Sample, tuple[str, float]] = {}
        for run in records:
            said = read_predictions(folders[run.run] / run.run, several=True)
            for sample, group, right in zip(said.samples, said.groups, said.correct, strict=True):
                seed[run.part or "", *sample] = (group, float(right))
        seeds.append(seed)
    samples = tuple(sorted(seeds[0]))
    if any(seed.keys() != seeds[0].keys() for seed in seeds):
        return Cell(tuple(found), (), (), None)
    groups = tuple(seeds[0][sample][0] for sample in samples)
    right = np.array([[seed[sample][1] for sample in samples] for seed in seeds])
    return Cell(tuple(found), samples, groups, _observed(right, samples, groups))


def _observed(
    right: NDArray[np.float64], samples: Sequence[Sample], groups: Sequence[str]
) -> Observed:
    """Sums of each group. A sample weighs as much as it does in the mean over splits, or over the
    groups that are left out one at a time, which is what tables show.

    Args:
        right: [seeds, n]
        samples: n
        groups: n
    """
    parts = Counter(sample[0] for sample in samples)
    weights = np.array([1 / parts[sample[0]] for sample in samples])
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = [np.bincount(index, weights * row, len(names)) for row in right]
    return Observed(np.stack(sums), np.bincount(index, weights, len(names)).astype(np.float64))


def _ranked(columns: Sequence[Column], notes: list[str]) -> Across:
    ranked = [column for column in columns if column.ranked]
    every = list(dict.fromkeys(row for column in columns for row in column.cells))
    common = [row for row in every if all(row in column.kept for column in ranked)]
    alone = [column.name for column in columns if not column.ranked]
    if alone:
        notes.append(f"not ranked: {listed(alone, 8)}, which has one method only")
    ranks: dict[str, RankStability] = {}
    if len(ranked) > 1 and len(common) > 1:
        observed = [[_known(column.cells[row]) for row in common] for column in ranked]
        ranks = dict(zip(common, rank_stability(observed), strict=True))
        left_out = [row for row in every if row not in ranks]
        if left_out:
            notes.append(
                f"ranks are over the {len(common)} methods that every ranked column has; not "
                f"ranked: {listed(left_out, 8)}"
            )
    else:
        notes.append(
            "no ranks: they need two columns and two methods that both have"
            + (f"; all have only {common[0]}" if len(common) == 1 else "")
        )
    few = [f"{c.name} has {counted(c.groups, 'group')}" for c in ranked if c.groups < FEWEST_GROUPS]
    summed = [column.name for column in ranked if column.first.several_labels]
    if ranks and summed:
        notes.append(f"no interval of ranks: {listed(summed, 8)} by mAP, no mean over clips")
    if ranks and few:
        notes.append(f"no interval of ranks: {listed(few, 8)}, at least {FEWEST_GROUPS} are needed")
    once = [c.name for c in ranked if any(c.cells[row].seeds == 1 for row in ranks)]
    if ranks and once and not few:
        notes.append(f"one seed of some method on {listed(once, 8)}: draws there are of groups")

    def best_first(row: str) -> tuple[float, float]:
        rank = ranks[row].mean if row in ranks else float("inf")
        return rank, -fmean(c.cells[row].score for c in columns if row in c.cells)

    rows = tuple(sorted(every, key=best_first))
    return Across(tuple(columns), rows, ranks, bool(ranks) and not few and not summed, tuple(notes))


def _known(cell: Cell) -> Observed:
    assert cell.observed is not None
    return cell.observed
