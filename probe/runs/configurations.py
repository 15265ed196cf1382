"""Finished runs, gathered by configuration: the seeds of one method with one group of settings."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepcli.probe.config import without_paths
from stepcli.probe.config.task import MULTI_LABEL
from stepcli.probe.runs.filters import EVERY_RUN, RunFilter
from stepcli.probe.runs.labels import labels, without_seeds
from stepcli.probe.runs.pairs import Pairs
from stepcli.probe.runs.record import FILE, RunRecord, read_runs
from stepcli.probe.runs.stats import mean_by_group
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.settings import JsonObject
from stepcli.runtime.words import counted, natural_order

if TYPE_CHECKING:
    from stepcli.probe.runs.predictions import Predictions

SPLIT_FIELDS = ("train_split", "test_split", "split_file", "split_digest")
"""Fields of a task that an official split has its own of."""


def configuration(run: RunRecord) -> str:
    """Equal for runs that differ in their seed alone, and in what is drawn by it; and in the group
    that is left out. Runs on other labels, splits or groups of the same tokens are others."""
    # An imported run has its name nowhere else than in its record; a file of one's own may move.
    name = run.method if run.imported else None
    return json.dumps([without_seeds(run), name, run.fingerprint, run.tables], sort_keys=True)


def over_splits(run: RunRecord) -> str:
    """Equal for runs that differ in their seed and official split alone."""
    config = without_seeds(run)
    if isinstance(task := config.get("task"), dict):
        config["task"] = {name: v for name, v in task.items() if name not in SPLIT_FIELDS}
    return json.dumps([config, run.dataset or None, run.backbone or None], sort_keys=True)


class Configuration:
    """The seeds of one method with one group of settings, on one task of one store."""

    def __init__(
        self, label: str, runs: Path, records: Sequence[RunRecord], held_out: Sequence[str | None]
    ):
        self.label = label
        self.runs = runs
        self.records = tuple(records)
        self.held_out = tuple(held_out)
        """For each record the run of the same settings that was tested on a slice of train."""

    @property
    def title(self) -> str:
        """The label with the task, which a label alone does not tell: "step: arrow"."""
        return f"{self.label}: {self.first.task}"

    @property
    def first(self) -> RunRecord:
        """The record of the first seed; seeds differ in what they measured alone."""
        return self.records[0]

    @property
    def seeds(self) -> int:
        """How many; each has one record, or one for each group where one is left out."""
        return len({record.seed for record in self.records})

    @property
    def leaves_a_group_out(self) -> bool:
        """Whether each record was tested on another group."""
        return self.first.held_group is not None

    @property
    def tested_on(self) -> str:
        """The split, and of several official ones which: "test, splits 1, 2, 3"."""
        if len({record.tested_on for record in self.records}) == 1:
            return self.first.tested_on
        names = sorted({str(record.part) for record in self.records}, key=natural_order)
        return f"{self.first.split}, splits {', '.join(names)}"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by index."""
        return tuple(self.first.classes)

    def pairs(self, given: Pairs | None = None) -> list[tuple[int, int]]:
        """Nearly symmetric classes by index: the given ones, or those that were trained with.

        Raises:
            UnknownName: a given pair names a class that there is not.
        """
        index = {name: i for i, name in enumerate(self.classes)}
        chosen = [(a, b) for a, b in self.first.pairs] if given is None else given
        for name in (name for pair in chosen for name in pair):
            if name not in index:
                raise UnknownName("label in pairs", name, self.classes)
        return [(index[a], index[b]) for a, b in chosen]

    def predictions(self) -> "list[Predictions]":
        """Of each seed, on the same samples; of all groups together where one is left out.

        Raises:
            UsageError: the seeds were tested on different samples.
        """
        seeds = by_seed(self.records)
        found = [seed_predictions(self.runs, members) for members in seeds]
        for (record, *_), other in zip(seeds, found, strict=True):
            if other.clips != found[0].clips or not np.array_equal(other.labels, found[0].labels):
                raise UsageError(
                    f"run {record.run} was tested on other samples than {self.first.run}; "
                    "keep runs of one store, task and split in a folder"
                )
        return found

    def observed(
        self, correct: NDArray[np.float64], groups: tuple[str, ...]
    ) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """What counts as one observation: a sample, or a group where one is left out at a time.

        Args:
            correct: 1 where a seed had a sample right, [seeds, n].
            groups: Of each sample.
        """
        return mean_by_group(correct, groups) if self.leaves_a_group_out else (correct, groups)


def by_seed(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """The records of each seed, seeds in ascending order; of leave-one-group-out by group."""
    seeds: dict[tuple[int, str], list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: (record.seed, record.part or "")):
        own = record.run if record.part is None else ""
        seeds.setdefault((record.seed, own), []).append(record)
    return list(seeds.values())


def seed_predictions(runs: Path, records: Sequence[RunRecord]) -> "Predictions":
    """What one seed said of its test samples: of one run, or of the runs of all groups."""
    from stepcli.probe.runs.predictions import joined, read_predictions

    return joined([read_predictions(runs / record.run) for record in records])


def configurations(
    runs: Path, methods: Sequence[str] | None = None, keep: RunFilter = EVERY_RUN
) -> list[Configuration]:
    """Every configuration below a folder of runs, as `stepcli results` has its rows; without those
    of any number of labels per clip, which `without_several` names.

    Args:
        runs: The folder, or the folder of one run in it: then that run alone.
        methods: Names; None: all.
        keep: Which runs.

    Raises:
        UsageError: there is no run, or none that passes.
        UnknownName: a method of `methods` has no run.
    """
    only = runs.name if (runs / FILE).is_file() else None
    runs = runs if only is None else runs.parent
    every = read_runs(runs, slices=True)
    tested = [r for r in every if not r.on_slice and only in (None, r.run)]
    single = [r for r in tested if not r.several_labels]
    if tested and not single:
        raise UsageError(
            f"{runs} holds only runs of --task {MULTI_LABEL}, this takes runs of one label per "
            "clip; their mean average precision is in stepcli results"
        )
    tested = single
    # Of several slices of a run the largest counts.
    sliced = sorted((r for r in every if r.on_slice), key=lambda record: record.test_samples)
    slices = {_without_slice(record): record.run for record in sliced}
    known = {record.method for record in tested}
    for name in methods or ():
        if name not in known:
            raise UnknownName("method among the runs", name, known)
    chosen = keep([record for record in tested if not methods or record.method in methods])
    if not chosen:
        raise UsageError(f"{runs} holds only runs on slices of train; refit them: sweep --select")
    groups: dict[str, list[RunRecord]] = {}
    for record in chosen:
        groups.setdefault(configuration(record), []).append(record)
    names = labels([members[0] for members in groups.values()])
    return [
        Configuration(name, runs, members, [slices.get(_without_slice(r)) for r in members])
        for name, members in zip(names, groups.values(), strict=True)
    ]


def without_several(runs: Path) -> list[str]:
    """A note on runs that are left out because their clips have any number of labels."""
    if not runs.is_dir() or (runs / FILE).is_file():
        return []
    count = sum(record.several_labels for record in read_runs(runs))
    if not count:
        return []
    return [f"{counted(count, 'run')} of --task {MULTI_LABEL} left out: see stepcli results"]


def _without_slice(record: RunRecord) -> str:
    try:
        # A setting that came with a later version has its default in runs from before it.
        config: JsonObject = record.settings.model_dump(mode="json")
    except UsageError:
        config = record.config
    config = without_paths(config)
    task = config.get("task")
    if isinstance(task, dict):
        config["task"] = {k: v for k, v in task.items() if k not in ("slice_seed", "slice_share")}
    return json.dumps([config, record.fingerprint, record.tables], sort_keys=True)
