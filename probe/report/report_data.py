"""Runs gathered for the report: a study per store, task and split; an entry per configuration."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from stepcli.probe.analysis.load_run import spec_of_run
from stepcli.probe.analysis.order_runs import kept_order_tests
from stepcli.probe.analysis.order_table import moved
from stepcli.probe.analysis.order_tests import REORDERINGS, OrderTests
from stepcli.probe.analysis.summary import Analysis, analyse
from stepcli.probe.methods.registry import methods
from stepcli.probe.runs.configurations import Configuration, configurations
from stepcli.probe.runs.labels import labels, tables_word
from stepcli.probe.runs.pairs import Pairs
from stepcli.probe.runs.stats import PairedDifference, paired_difference
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.settings import JsonObject
from stepcli.runtime.words import counted

Kind = Literal["order-blind", "control", "sees order", "imported"]
KINDS: tuple[Kind, ...] = ("order-blind", "control", "sees order", "imported")

SINGLE_FRAMES = ("first-frame", "middle-frame", "last-frame")
CONTROLS = (*SINGLE_FRAMES, "first-last", "duration")
"""What single frames, or the length of a clip, give away."""
BLIND = 1e-5
"""A probe whose logits move less when frames change places does not see order."""


@dataclass(frozen=True)
class ReportEntry:
    """One configuration."""

    found: Configuration
    analysis: Analysis
    kind: Kind
    tests: tuple[OrderTests, ...]
    """Order tests of the seeds that were tested."""

    @property
    def label(self) -> str:
        """Its method, with the settings that tell it from the others of the study."""
        return self.analysis.label

    @property
    def score(self) -> float:
        """Forced choice over pairs where there are any, else top-1."""
        overall = self.analysis.overall
        return self.analysis.top1.mean if overall is None else overall.macro_forced_choice

    @property
    def losses(self) -> list[list[float]]:
        """Training loss by epoch, of the seeds that have one."""
        return [record.losses for record in self.found.records if record.losses]


@dataclass(frozen=True)
class Study:
    """Entries that were tested on the same samples, the weakest first."""

    entries: tuple[ReportEntry, ...]
    apart: str = ""
    """What tells it from another study of the same title; else empty."""

    @property
    def first(self) -> Analysis:
        """For what all share: task, data set, split."""
        return self.entries[0].analysis

    @property
    def title(self) -> str:
        """E.g. "arrow on openclose (test), mobilenet_v2-bundled"."""
        backbones = (entry.found.first.backbone for entry in self.entries)
        backbone = next((name for name in backbones if name), "")
        title = f"{self.first.task} on {self.first.dataset} ({self.first.split})"
        return ", ".join(part for part in (title, backbone, self.apart) if part)

    @property
    def has_pairs(self) -> bool:
        """Whether forced choice is defined."""
        return self.first.overall is not None

    def of_kind(self, *kinds: Kind) -> list[ReportEntry]:
        """Entries of some kinds, the weakest first."""
        return [entry for entry in self.entries if entry.kind in kinds]

    def best(self, *kinds: Kind) -> ReportEntry | None:
        """The strongest entry of some kinds; None without one."""
        found = self.of_kind(*kinds)
        return max(found, key=lambda entry: entry.score) if found else None


def gather(runs: Path, given: Pairs | None = None) -> list[Study]:
    """Every study of a folder of runs.

    Raises:
        UsageError: there is no run, or one cannot be read.
    """
    studies: dict[tuple[str, str, str, str, int, str], list[ReportEntry]] = {}
    for found in configurations(runs):
        first = found.first
        key = (first.dataset, first.fingerprint, first.task, found.tested_on)
        tests = [kept_order_tests(runs, record) for record in found.records]
        known = tuple(test for test in tests if test is not None)
        usable = None if given is None else _known_pairs(given, found.classes)
        entry = ReportEntry(found, analyse(found, usable), kind_of(found, known), known)
        # Splits of one size are still different test sets, and no rows of one table; nor are clips
        # whose labels were changed.
        said = found.predictions()[0]
        labels_said = [found.classes[label] if label >= 0 else "" for label in said.labels]
        samples = json.dumps([said.samples, labels_said])
        shown = hashlib.sha256(samples.encode(errors="surrogatepass")).hexdigest()
        studies.setdefault((*key, entry.analysis.samples, shown), []).append(entry)
    return _told_apart([_study(entries) for _, entries in sorted(studies.items())])


def _study(entries: Sequence[ReportEntry]) -> Study:
    """Entries by score; their names leave out what all of the study share, digests above all."""
    names = labels([entry.found.first for entry in entries])
    named = [
        replace(entry, analysis=replace(entry.analysis, label=name))
        for entry, name in zip(entries, names, strict=True)
    ]
    return Study(tuple(sorted(named, key=lambda entry: (entry.score, entry.label))))


def _told_apart(studies: Sequence[Study]) -> list[Study]:
    """Studies whose titles differ: by their samples, tokens or stores."""
    by_title: dict[str, list[Study]] = {}
    for study in studies:
        by_title.setdefault(study.title, []).append(study)
    apart: dict[int, str] = {}
    for alike in (each for each in by_title.values() if len(each) > 1):
        words_of = (_splits, _samples, _tokens, _store, _tables)
        told = [list(map(words, alike)) for words in words_of]
        # As few words as do it; where none do, all of them.
        several = [
            [", ".join(filter(None, each)) for each in zip(*chosen, strict=True)]
            for count in range(1, len(told) + 1)
            for chosen in combinations(told, count)
        ]
        names = next((each for each in several if len(set(each)) == len(alike)), several[-1])
        apart |= dict(zip(map(id, alike), names, strict=True))
    return [replace(study, apart=apart.get(id(study), "")) for study in studies]


def _splits(study: Study) -> str:
    file = study.entries[0].found.first.task_settings.get("split_file")
    return f"splits of {Path(file).name}" if isinstance(file, str) else ""


def _samples(study: Study) -> str:
    return counted(study.first.samples, "sample")


def _tokens(study: Study) -> str:
    try:
        spec = spec_of_run(study.entries[0].found.first)
    except UsageError:
        return ""
    tokens = sum(segment.count for segment in spec.segments)
    return f"{spec.frames} frames x {tokens} tokens x {spec.dim} {spec.dtype}"


def _store(study: Study) -> str:
    first = study.entries[0].found.first
    return f"store {first.store.rstrip('/').rpartition('/')[2]}" if first.store else ""


def _tables(study: Study) -> str:
    return tables_word(study.entries[0].found.first)


def _known_pairs(given: Pairs, classes: Sequence[str]) -> Pairs:
    """A report may span data sets: of the user's pairs those that one of them has."""
    return tuple(pair for pair in given if set(pair) <= set(classes))


def kind_of(found: Configuration, tests: Sequence[OrderTests]) -> Kind:
    """What a configuration is compared as; what was measured goes before what is known of it."""
    if found.first.imported:
        return "imported"
    if found.first.method in CONTROLS or _shuffled(found):
        return "control"
    if tests:
        return "order-blind" if moved(tests, list(REORDERINGS)) < BLIND else "sees order"
    options = found.first.config.get("options")
    encoding = options.get("pe") if isinstance(options, dict) else None
    if encoding is not None:
        return "order-blind" if encoding == "none" else "sees order"
    try:
        aware = methods().sees_order(found.first.method)
    except UnknownName:
        aware = True
    return "sees order" if aware else "order-blind"


def _shuffled(found: Configuration) -> bool:
    return found.first.task_settings.get("frame_order") == "shuffled"


def shuffled_twins(study: Study) -> list[tuple[ReportEntry, ReportEntry]]:
    """Entries with their twins that were trained on shuffled frames and else alike."""
    twins = []
    for twin in study.entries:
        if not _shuffled(twin.found):
            continue
        first = twin.found.first
        task: JsonObject = {**first.task_settings, "frame_order": "natural"}
        natural = {**first.config, "task": task, "seed": 0}
        twins += [
            (entry, twin)
            for entry in study.entries
            if {**entry.found.first.config, "seed": 0} == natural
        ]
    return twins


def difference(one: ReportEntry, other: ReportEntry) -> PairedDifference | None:
    """Top-1 of one entry minus another's, paired; None on different samples."""
    mine, theirs = one.found.predictions(), other.found.predictions()
    keys = [
        list(zip(p[0].clips, p[0].starts.tolist(), p[0].backward.tolist(), strict=True))
        for p in (mine, theirs)
    ]
    if keys[0] != keys[1]:
        return None
    sides = [np.stack([seed.correct for seed in p]) for p in (mine, theirs)]
    (left, groups), (right, _) = (one.found.observed(side, mine[0].groups) for side in sides)
    return paired_difference(left, right, groups)
