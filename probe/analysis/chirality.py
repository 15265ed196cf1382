"""The chirality protocol: for each group of mirror-image actions a probe of its own, then the mean.

Source: Bagad & Zisserman, "Chirality in Action: Time-Aware Video Representation Learning by Latent
Straightening", NeurIPS 2025: actions such as opening and closing form chiral groups; one linear
probe per group shows whether the features know the direction. Here the probe is any method of the
registry and its tokens are the store's; a group's chance is one over its number of classes. With
the published tables (`chiral_groups`) clips, labels and splits are theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch

from stepcli.cache.schema.leakage import find_leakage
from stepcli.cache.store.duplicates import find_copies
from stepcli.cache.store.store import Store, open_store
from stepcli.probe.analysis.chiral_groups import ChiralGroup, require_some, rows_by_clip
from stepcli.probe.config import DataConfig, TaskConfig
from stepcli.probe.data.features import task_layout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.placement import free_bytes, place_features
from stepcli.probe.data.splits import LabelledClips, labelled_clips
from stepcli.probe.runs.metrics import mean_class, top_k
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.training.process import tune_process
from stepcli.probe.training.train import train
from stepcli.runtime.devices import resolve_device
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted, listed


@dataclass(frozen=True, slots=True)
class GroupScore:
    """One chiral group, mean over seeds; fractions of 1."""

    group: str
    classes: int
    train_clips: int
    test_samples: int
    top1: float
    mean_class: float


def chirality(
    store: Path,
    groups: Sequence[ChiralGroup],
    methods: Sequence[str],
    *,
    seeds: int,
    data: DataConfig,
    splits: tuple[str, str],
    device: str,
) -> tuple[dict[str, list[GroupScore]], list[str]]:
    """Train and test methods on each group alone.

    Args:
        store: Its folder.
        groups: All of classes, or all of clips, which have splits of their own.
        methods: Of the registry, with their defaults.
        seeds: Of each group and method.
        data: Epochs and batches.
        splits: Of groups of classes, train and test.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        For each method a score for each group that can be tested, and why others are left out.

    Raises:
        StoreNotFound: there is no store.
        UsageError: no group can be tested, or the method does not fit the tokens.
        UnknownName: no such method.
    """
    tune_process()
    where = resolve_device(device)
    opened = open_store(store)
    tables, left_out, notes = _tables(opened, groups, splits)
    scores: dict[str, list[GroupScore]] = {method: [] for method in methods}
    for name, mine in tables.items():
        config = TaskConfig(train_split=splits[0], test_split=splits[1])
        task = make_task(config, opened, mine)
        free = {kind.type: free_bytes(kind) for kind in (torch.device("cpu"), where)}
        features, _ = place_features(opened, task.clips, where, free)
        for method, own in scores.items():
            trained = train(
                features,
                task_layout(opened, task),
                task,
                run_configs(method, [{}], {}, config, data, range(seeds)),
                lambda report: None,
                say=lambda *_: None,
            )
            truth = task.test.label
            logits = [each.logits.numpy() for each in trained]
            own.append(
                GroupScore(
                    name,
                    len(mine.classes),
                    task.train_clips,
                    len(truth),
                    fmean(top_k(each, truth, 1) for each in logits),
                    fmean(mean_class(each, truth) for each in logits),
                )
            )
    if not tables:
        raise UsageError(f"no group can be tested on {store}: {'; '.join(left_out[:3])}")
    return scores, [*notes, *(f"left out: {line}" for line in left_out)]


def _tables(
    store: Store, groups: Sequence[ChiralGroup], splits: tuple[str, str]
) -> tuple[dict[str, LabelledClips], list[str], list[str]]:
    """The clips of each group that can be tested, why others are left out, and notes."""
    of_classes = not any(group.clips for group in groups)
    known = rows_by_clip([row for row in store.clips() if row.id in store])
    require_some(groups, known)
    copies = find_copies(store).sets
    table = labelled_clips(store, *splits, copies=copies) if of_classes else None
    notes = [*table.warnings] if table else []
    absent = {clip for group in groups for clip in group.missing(known)}
    if absent:
        notes.append(f"{counted(len(absent), 'clip')} of the table not in the store")
    tables: dict[str, LabelledClips] = {}
    left_out: list[str] = []
    for group in groups:
        labels = set(group.labels)
        if table and (unknown := [label for label in group.labels if label not in table.classes]):
            left_out.append(f"{group.name}: not a class of the store: {listed(map(repr, unknown))}")
            continue
        mine = _only(table, group.labels) if table else group.table(known, copies)
        if any({row.label for row in side} != labels for side in (mine.train, mine.test)):
            where = f"{splits[0]} and {splits[1]}" if table else "train and the other split"
            left_out.append(f"{group.name}: not every class has clips in {where}")
            continue
        tables[group.name] = mine
    every = {"": table} if table else tables
    leaks = {
        name: found
        for name, mine in every.items()
        if (found := find_leakage(mine.train, mine.test, copies).warnings)
    }
    if table:
        notes += leaks.get("", ())
    elif leaks:
        first, found = next(iter(leaks.items()))
        notes.append(
            f"{counted(len(leaks), 'group')} whose test clips share groups with, or are copies of, "
            f"training clips (first: {first}: {'; '.join(found)})"
        )
    return tables, left_out, notes


def _only(table: LabelledClips, labels: Sequence[str]) -> LabelledClips:
    """The clips of some classes."""
    wanted = set(labels)
    return replace(
        table,
        train=tuple(row for row in table.train if row.label in wanted),
        test=tuple(row for row in table.test if row.label in wanted),
        classes=tuple(sorted(wanted)),
        pairs=(),
    )
