"""Finished runs, gathered by configuration: the seeds of one method with one group of settings."""

import contextlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from stepcli.probe.config import RunConfig, without_paths
from stepcli.probe.runs.pairs import Pairs
from stepcli.probe.runs.predictions import Predictions, read_predictions
from stepcli.probe.runs.runs import read_runs
from stepcli.probe.runs.table import configuration, labels
from stepcli.runtime.errors import UnknownName, UsageError

Record = dict[str, Any]


class Configuration:
    """The seeds of one method with one group of settings, on one task of one store."""

    def __init__(
        self, label: str, runs: Path, records: Sequence[Record], held_out: Sequence[str | None]
    ):
        self.label = label
        self.runs = runs
        self.records = tuple(records)
        self.held_out = tuple(held_out)
        """For each record the run of the same settings that was tested on a slice of train."""

    @property
    def first(self) -> Record:
        """The record of the first seed; seeds differ in what they measured alone."""
        return self.records[0]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by index."""
        return tuple(self.first["classes"])

    def pairs(self, given: Pairs | None = None) -> list[tuple[int, int]]:
        """Nearly symmetric classes by index: the given ones, or those that were trained with.

        Raises:
            UnknownName: a given pair names a class that there is not.
        """
        index = {name: i for i, name in enumerate(self.classes)}
        chosen = self.first["pairs"] if given is None else given
        for name in (name for pair in chosen for name in pair):
            if name not in index:
                raise UnknownName("label in pairs", name, self.classes)
        return [(index[a], index[b]) for a, b in chosen]

    def predictions(self) -> list[Predictions]:
        """Of each seed, on the same samples.

        Raises:
            UsageError: the seeds were tested on different samples.
        """
        found = [read_predictions(self.runs / record["run"]) for record in self.records]
        for record, other in zip(self.records, found, strict=True):
            if other.clips != found[0].clips or not np.array_equal(other.labels, found[0].labels):
                raise UsageError(
                    f"run {record['run']} was tested on other samples than {self.first['run']}; "
                    "keep runs of one store, task and split in a folder"
                )
        return found


def configurations(runs: Path, methods: Sequence[str] | None = None) -> list[Configuration]:
    """Every configuration below a folder of runs, as `stepcli results` has its rows.

    Raises:
        UsageError: there is no run.
        UnknownName: a method of `methods` has no run.
    """
    every = read_runs(runs, slices=True)
    tested = [record for record in every if _slice_seed(record) is None]
    # Of several slices of a run the largest counts.
    sliced = [record for record in every if _slice_seed(record) is not None]
    sliced.sort(key=lambda record: record.get("test_samples", 0))
    slices = {_without_slice(record): record["run"] for record in sliced}
    known = {record["method"] for record in tested}
    for name in methods or ():
        if name not in known:
            raise UnknownName("method among the runs", name, known)
    chosen = [record for record in tested if not methods or record["method"] in methods]
    if not chosen:
        raise UsageError(f"{runs} holds only runs on slices of train; refit them: sweep --select")
    groups: dict[str, list[Record]] = {}
    for record in chosen:
        groups.setdefault(configuration(record), []).append(record)
    names = labels([members[0] for members in groups.values()])
    return [
        Configuration(name, runs, members, [slices.get(_without_slice(r)) for r in members])
        for name, members in zip(names, groups.values(), strict=True)
    ]


def _slice_seed(record: Record) -> Any:
    return record["config"].get("task", {}).get("slice_seed")


def _without_slice(record: Record) -> str:
    config = record["config"]
    with contextlib.suppress(ValidationError):
        # A setting that came with a later version has its default in runs from before it.
        config = RunConfig.model_validate(config).model_dump(mode="json")
    config = without_paths(config)
    task = {
        k: v for k, v in config.get("task", {}).items() if k not in ("slice_seed", "slice_share")
    }
    return json.dumps([config | {"task": task}, record["fingerprint"]], sort_keys=True)
