"""Methods on the same test samples: per-clip predictions, paired, by groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.runs.configurations import (
    SPLIT_FIELDS,
    by_seed,
    configuration,
    seed_predictions,
)
from stepcli.probe.runs.labels import labels, store_names, tables_word
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.runs.stats import (
    FEWEST_GROUPS,
    PairedDifference,
    holm,
    mean_by_group,
    paired_difference,
)
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.words import counted, listed

LEVEL = 0.05
"""Of corrected p, below which two methods differ."""


@dataclass(frozen=True, slots=True)
class Correctness:
    """How often each test sample was right, over the seeds of one configuration."""

    samples: tuple[tuple[str, int, bool], ...]
    """Clip, first frame, direction."""
    groups: tuple[str, ...]
    right: NDArray[np.float64]
    """1 where a seed was right, 0 where it was wrong, [seeds, n]; seeds in ascending order."""

    @property
    def share(self) -> NDArray[np.float64]:
        """Share of seeds that were right, [n]."""
        share: NDArray[np.float64] = self.right.mean(axis=0)
        return share

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.right)


def correctness(runs: Path, records: Sequence[RunRecord]) -> Correctness:
    """Read the predictions of one configuration's seeds.

    Raises:
        UsageError: the seeds were tested on different samples.
    """
    if not records:
        raise ValueError("correctness needs at least one run")
    samples: list[tuple[tuple[str, int, bool], ...]] = []
    rights: list[NDArray[np.float64]] = []
    # Seeds of two methods are paired by their order.
    for record, *others in by_seed(records):
        found = seed_predictions(runs, [record, *others])
        names = found.samples
        order = sorted(range(len(names)), key=names.__getitem__)
        samples.append(tuple(names[row] for row in order))
        rights.append(found.correct[order])
        groups = tuple(found.groups[row] for row in order)
        if samples[-1] != samples[0]:
            raise UsageError(
                f"run {record.run} was tested on other samples than {records[0].run}; "
                "compare runs of one store, task and split"
            )
    right = np.stack(rights)
    if records[0].held_group is not None:
        right, groups = mean_by_group(right, groups)
        return Correctness(tuple((group, 0, False) for group in groups), groups, right)
    return Correctness(samples[0], groups, right)


@dataclass(frozen=True, slots=True)
class MethodDifference:
    """One method against the reference."""

    method: str
    difference: PairedDifference
    corrected_p: float | None
    """After Holm's correction over all methods of the comparison."""


def compare_methods(
    runs: Path, records: Sequence[RunRecord], names: Sequence[str]
) -> list[MethodDifference]:
    """Compare every method but the first with the first.

    Raises:
        UnknownName: no run of that method.
        UsageError: a method has several configurations, or samples differ.
    """
    found = {record.method for record in records}
    sides = []
    for name in names:
        if name not in found:
            raise UnknownName("method among the runs", name, found)
        mine = [record for record in records if record.method == name]
        if ambiguous := _ambiguity(mine):
            raise UsageError(f"--compare: {name} {ambiguous}")
        sides.append(correctness(runs, mine))
        first = next(run for run in records if run.method == names[0])
        if other_tables(first, mine[0]):
            raise UsageError(
                f"--compare: {names[0]} and {name} were trained on different labels, splits or "
                f"groups of one store ({tables_word(first)}, {tables_word(mine[0])}); train both "
                "again, or choose with --set"
            )
    reference, *others = sides
    differences = []
    for name, other in zip(names[1:], others, strict=True):
        if other.samples != reference.samples:
            raise UsageError(_different_samples(records, names[0], name))
        differences.append(paired_difference(other.right, reference.right, other.groups))
    # All share their groups, so either all have a p-value or none has.
    corrected = holm([d.p for d in differences if d.p is not None])
    return [
        MethodDifference(name, difference, corrected[i] if difference.p is not None else None)
        for i, (name, difference) in enumerate(zip(names[1:], differences, strict=True))
    ]


def _ambiguity(mine: Sequence[RunRecord]) -> str:
    """Why the runs of a method are not one configuration, and the filter that would make them
    one; "" where they are one."""
    varied = {
        "--task": sorted({run.task for run in mine}),
        "--store": sorted(set(store_names(mine).values())),
        "split": sorted({run.split for run in mine}),
    }
    several = {option: values for option, values in varied.items() if len(values) > 1}
    if several:
        words = {"--task": "tasks", "--store": "stores", "split": "splits"}
        found = "; ".join(f"{words[name]} {listed(v, 8)}" for name, v in several.items())
        # Stores of one name are told apart by their digests, which the filter takes too.
        filters = " ".join(
            f"{name} {v[0].split()[-1]}" for name, v in several.items() if name != "split"
        )
        advice = f"choose with e.g. {filters}" if filters else "keep one split per folder of runs"
        return f"has runs of several {found}; {advice}"
    if len(tables := sorted({tables_word(run) for run in mine})) > 1:
        return (
            f"was trained on several states of the store's labels, splits or groups "
            f"({listed(tables, 8)}); choose with e.g. --set {tables[0]}"
        )
    if len({(run.seed, run.part) for run in mine}) == len(mine):
        return ""
    names = dict.fromkeys(labels(mine))
    settings = [name.partition(" ")[2] for name in names]
    first = next((each.partition(" ")[0] for each in settings if each), "")
    advice = f"choose with e.g. --set {first}" if first else "delete one (stepcli runs)"
    found = listed([each for each in settings if each], 8)
    return (
        f"has several settings for one seed ({found}); {advice}, or let stepcli sweep --select "
        "choose"
    )


def other_tables(one: RunRecord, other: RunRecord) -> bool:
    """Whether two runs read the same splits of a store's tables, and something else in them.

    Runs of versions that did not record it may be of the same.
    """
    sides = [[run.task_settings.get(name) for name in SPLIT_FIELDS] for run in (one, other)]
    if sides[0] != sides[1] or one.fingerprint != other.fingerprint or one.task != other.task:
        return False
    return bool(one.tables and other.tables) and one.tables != other.tables


def _different_samples(records: Sequence[RunRecord], reference: str, name: str) -> str:
    """Why two methods cannot be paired, and the filter that may help."""
    a, b = (next(run for run in records if run.method == method) for method in (reference, name))
    differing = [
        f"{what} {x} and {y}"
        for what, x, y in (
            ("tasks", a.task, b.task),
            ("splits", a.split, b.split),
            ("stores", store_names([a, b])[a.fingerprint], store_names([a, b])[b.fingerprint]),
        )
        if x != y
    ]
    why = f" ({', '.join(differing)})" if differing else ""
    return (
        f"--compare: {reference} and {name} were tested on different samples{why}; compare runs "
        "of one store, task and split: filter them with --task or --store"
    )


def verdict_of(corrected_p: float) -> str:
    """What a corrected p says."""
    return "differs" if corrected_p < LEVEL else "no difference shown"


def describe(reference: str, comparisons: Sequence[MethodDifference]) -> list[str]:
    """Lines for a terminal: points of top-1, interval, corrected p; or the groups' own values."""
    lines = []
    for each in comparisons:
        gain = each.difference
        head = f"{each.method} - {reference}: {100 * gain.mean:+.1f} points"
        if gain.low is None or gain.high is None or each.corrected_p is None:
            lines.append(f"{head} ({no_interval(gain)})")
            continue
        verdict = verdict_of(each.corrected_p)
        lines.append(
            f"{head}, 95 % interval [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] over "
            f"{covered(gain)}, {_p(each.corrected_p)} after Holm: {verdict}"
        )
    return lines


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.4f}"


def covered(gain: PairedDifference) -> str:
    """What an interval is over, e.g. "20 groups and 5 seeds"."""
    seeds = f"{counted(gain.seeds, 'seed')}" if gain.seeds > 1 else "1 seed, so not over seeds"
    return f"{counted(len(gain.by_group), 'group')} and {seeds}"


def no_interval(gain: PairedDifference) -> str:
    """Why there is none, and each group's own difference in points."""
    values = ", ".join(f"{group} {100 * v:+.1f}" for group, v in gain.by_group.items())
    return f"fewer than {FEWEST_GROUPS} groups, no interval; by group: {values}"


def clear_winners(runs: Path, records: Sequence[RunRecord]) -> frozenset[str]:
    """Configurations whose top-1 is the best of their task, split and store, and differs from every
    other one's there after Holm's correction: paired on the same test samples.

    Rows tested on other samples than the best are not compared with it, and then none is marked.
    """
    tables: dict[object, dict[str, list[RunRecord]]] = {}
    for record in records:
        place = record.task, record.split, record.fingerprint
        tables.setdefault(place, {}).setdefault(configuration(record), []).append(record)
    found = set()
    for rows in tables.values():
        if len(rows) < 2:
            continue
        best = max(rows, key=lambda row: fmean(record.top1 for record in rows[row]))
        if any(other_tables(rows[best][0], members[0]) for members in rows.values()):
            continue
        try:
            sides = {row: correctness(runs, members) for row, members in rows.items()}
        except UsageError:
            continue
        mine = sides[best]
        if any(side.samples != mine.samples for side in sides.values()):
            continue
        others = [side for row, side in sides.items() if row != best]
        p = [paired_difference(mine.right, side.right, side.groups).p for side in others]
        known = [value for value in p if value is not None]
        if len(known) == len(p) and max(holm(known)) < LEVEL:
            found.add(best)
    return frozenset(found)
