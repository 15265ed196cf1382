"""What is held out of train to score points by: a slice for each seed, or folds by group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcli.cache.schema.views import clip_of
from stepcli.probe.config import RunConfig, SliceMinimum, TaskConfig
from stepcli.probe.data.label_sets import members
from stepcli.probe.data.slices import most_folds
from stepcli.probe.data.tasks import Task
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.errors import UsageError

FOLD_SEED = 0
"""Folds are the same for all seeds and points, so that all are scored by the same clips."""


@dataclass(frozen=True, slots=True)
class Size:
    """What is held out."""

    clips: int
    classes: int
    groups: int

    def __str__(self) -> str:
        counted = zip(
            (self.clips, self.classes, self.groups), ("clip", "class", "group"), strict=True
        )
        clips, classes, groups = (f"{n} {word}{_plural(n, word)}" for n, word in counted)
        return f"{clips} of {classes} in {groups}"


def _plural(count: int, word: str) -> str:
    return "" if count == 1 else "es" if word.endswith("s") else "s"


@dataclass(frozen=True, slots=True)
class HoldOut:
    """How the points of one task are scored without its test split."""

    folds: int | None
    """None: a slice for each seed."""
    size: Size
    """Of all folds together, or of the smallest seed's slice."""
    said: str
    """For users."""

    def configs(self, config: RunConfig) -> list[RunConfig]:
        """The runs that score a point of one seed."""
        if self.folds is None:
            return [on_slice(config)]
        return [on_fold(config, self.folds, fold) for fold in range(self.folds)]

    def scores(self, records: Sequence[RunRecord]) -> list[float]:
        """Top-1 of each point, of the records of all points' `configs` in order; mAP where clips
        have any number of labels.

        Over folds every held-out sample counts once.
        """
        each = self.folds or 1
        return [
            float(
                np.average(
                    [record.headline for record in records[start : start + each]],
                    weights=[record.test_samples for record in records[start : start + each]],
                )
            )
            for start in range(0, len(records), each)
        ]


def on_slice(config: RunConfig) -> RunConfig:
    """The same config on a held-out slice of train, drawn anew for each seed."""
    return _with_task(config, slice_seed=config.seed)


def on_fold(config: RunConfig, folds: int, fold: int) -> RunConfig:
    """The same config on all of train but one fold."""
    return _with_task(config, slice_seed=FOLD_SEED, folds=folds, fold=fold)


def _with_task(config: RunConfig, **changed: int) -> RunConfig:
    return config.model_copy(update={"task": config.task.model_copy(update=changed)})


def hold_out(
    session: Session, configs: Sequence[RunConfig], minimum: SliceMinimum, folds: int
) -> HoldOut:
    """A slice of train for every seed where all are large enough; otherwise folds by group.

    Args:
        session: On the store.
        configs: Of one task, every seed once at least.
        minimum: Of each seed's slice, or of all folds together.
        folds: Maximum number.

    Raises:
        UsageError: neither is large enough; says what is missing.
    """
    tasks = list(dict.fromkeys((config.task, config.seed) for config in configs))
    wanted = _wanted(session, tasks[0][0], minimum)
    slices = [_size(session, [task.model_copy(update={"slice_seed": s})]) for task, s in tasks]
    smallest = min(slices, key=lambda size: (size.clips, size.groups, size.classes))
    lacking = next((size for size in slices if missing(size, wanted)), None)
    share = tasks[0][0].slice_share
    if lacking is None:
        said = f"on a slice of {share:.0%} of train for each seed, of at least {smallest}"
        return HoldOut(None, smallest, said)
    pooled = []
    fitting = folds
    for task in dict.fromkeys(task for task, _ in tasks):
        fitting = min(fitting, most_folds(session.tables.of_task(task), folds, FOLD_SEED))
    if fitting:
        for task in dict.fromkeys(task for task, _ in tasks):
            update = {"slice_seed": FOLD_SEED, "folds": fitting}
            every = [task.model_copy(update=update | {"fold": f}) for f in range(fitting)]
            pooled.append(_size(session, every))
    smallest = min(pooled, key=lambda size: (size.clips, size.groups), default=Size(0, 0, 0))
    refused = next((size for size in pooled if missing(size, wanted)), None)
    if not pooled or refused is not None:
        in_folds = (
            "train cannot be dealt to folds: its classes have one group each"
            if not pooled
            else f"all {fitting} folds over groups together hold out {refused}"
        )
        lack = missing(refused or lacking, wanted)
        raise UsageError(
            f"too little to choose by: a slice of {share:.0%} of train is {lacking}, and "
            f"{in_folds}; needed are {wanted} (missing: {lack}). Add training clips or finer "
            "groups, or lower the minimum with --slice-min"
        )
    return HoldOut(
        fitting,
        smallest,
        f"by {fitting}-fold cross-validation over groups of train, {smallest} held out in turn, "
        f"because a slice of {share:.0%} is only {lacking} (minimum {wanted})",
    )


def missing(size: Size, wanted: Size) -> str:
    """What a slice lacks, e.g. "12 clips, 2 groups"; "" where it is large enough."""
    gaps = {
        "clip": wanted.clips - size.clips,
        "class": wanted.classes - size.classes,
        "group": wanted.groups - size.groups,
    }
    return ", ".join(f"{n} {word}{_plural(n, word)}" for word, n in gaps.items() if n > 0)


def _wanted(session: Session, task: TaskConfig, minimum: SliceMinimum) -> Size:
    trained = int((session.task(task).class_counts > 0).sum())
    classes = max(1, trained // 2) if minimum.classes is None else minimum.classes
    return Size(minimum.clips, classes, minimum.groups)


def _size(session: Session, configs: Sequence[TaskConfig]) -> Size:
    """What some tasks report on together."""
    try:
        return size_of([session.task(config) for config in configs])
    except UsageError:
        # Nothing can be held out so, which is what is wanted here.
        return Size(0, 0, 0)


def size_of(tasks: Sequence[Task]) -> Size:
    """What some tasks report on together; views of a clip count once."""
    clips, labels, groups = set[str](), set[str](), set[str]()
    for task in tasks:
        tested = np.unique(task.test.clip)
        clips |= {clip_of(task.clips[clip]) for clip in tested}
        groups |= {task.groups[clip] for clip in tested}
        found = set(np.unique(task.test.label).tolist())
        if task.label_sets is not None:
            found = members(task.label_sets, found)
        labels |= {task.classes[label] for label in found}
    return Size(len(clips), len(labels), len(groups))
