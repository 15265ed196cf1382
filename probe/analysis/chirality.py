"""The chirality protocol: for each group of mirror-image actions a probe of its own, then the mean.

Source: Bagad & Zisserman, "Chirality in Action: Time-Aware Video Representation Learning by Latent
Straightening", NeurIPS 2025: actions such as opening and closing form chiral groups; one linear
probe per group shows whether the features know the direction. Here the probe is any method of the
registry and its tokens are the store's; a group's chance is one over its number of classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch

from stepcli.cache.schema.leakage import find_leakage
from stepcli.cache.store.store import open_store
from stepcli.probe.config import DataConfig, TaskConfig
from stepcli.probe.data.features import task_layout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.placement import free_bytes, place_features
from stepcli.probe.data.splits import LabelledClips, labelled_clips
from stepcli.probe.runs.metrics import mean_class, top_k
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.training.process import tune_process
from stepcli.probe.training.train import train
from stepcli.runtime.csv_tables import read_csv
from stepcli.runtime.devices import resolve_device
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import listed

Groups = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class GroupScore:
    """One chiral group, mean over seeds; fractions of 1."""

    group: str
    classes: int
    train_clips: int
    test_samples: int
    top1: float
    mean_class: float


def read_groups(path: Path) -> dict[str, list[str]]:
    """Chiral groups from a CSV with the columns group and label, a line for each class of a group.

    Raises:
        UsageError: not such a table, or a group has fewer than two classes.
    """
    groups: dict[str, list[str]] = {}
    for row in read_csv(path, ("group", "label")):
        groups.setdefault(row["group"].strip(), []).append(row["label"].strip())
    for name, labels in groups.items():
        if len(set(labels)) < 2 or len(set(labels)) < len(labels):
            raise UsageError(
                f"{path}: group {name!r} has the classes {', '.join(labels)}; expected two or "
                "more, each once"
            )
    if not groups:
        raise UsageError(f"{path} has no group")
    return groups


def chirality(
    store: Path,
    groups: Groups,
    method: str,
    *,
    seeds: int,
    data: DataConfig,
    splits: tuple[str, str],
    device: str,
) -> tuple[list[GroupScore], list[str]]:
    """Train and test a method on each group alone.

    Returns:
        A score for each group that can be tested, and why others are left out.

    Raises:
        StoreNotFound: there is no store.
        UsageError: no group can be tested, or the method does not fit the tokens.
        UnknownName: no such method.
    """
    tune_process()
    where = resolve_device(device)
    opened = open_store(store)
    table = labelled_clips(opened, *splits)
    notes = [*table.warnings, *find_leakage(table.train, table.test, table.copies).warnings]
    scores: list[GroupScore] = []
    left_out: list[str] = []
    for name, labels in groups.items():
        if unknown := [label for label in labels if label not in table.classes]:
            left_out.append(f"{name}: not a class of the store: {listed(map(repr, unknown))}")
            continue
        mine = _only(table, labels)
        if {row.label for row in mine.train} != set(labels) or len(
            {row.label for row in mine.test}
        ) < len(labels):
            left_out.append(f"{name}: not every class has clips in {splits[0]} and {splits[1]}")
            continue
        config = TaskConfig(train_split=splits[0], test_split=splits[1])
        task = make_task(config, opened, mine)
        free = {kind.type: free_bytes(kind) for kind in (torch.device("cpu"), where)}
        features, _ = place_features(opened, task.clips, where, free)
        configs = run_configs(method, [{}], {}, config, data, range(seeds))
        trained = train(
            features,
            task_layout(opened, task),
            task,
            configs,
            lambda report: None,
            say=lambda *_: None,
        )
        truth = task.test.label
        logits = [each.logits.numpy() for each in trained]
        scores.append(
            GroupScore(
                name,
                len(labels),
                task.train_clips,
                len(truth),
                fmean(top_k(each, truth, 1) for each in logits),
                fmean(mean_class(each, truth) for each in logits),
            )
        )
    if not scores:
        raise UsageError(f"no group can be tested on {store}: {'; '.join(left_out[:3])}")
    return scores, [*notes, *(f"left out: {line}" for line in left_out)]


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
