"""What is shown to a probe and what it should answer: whole clips or crops, forward or backward.

The arrow of time needs no second extraction where a token depends on its own frame alone: the
tokens of the backward video are the forward clip's tokens in reverse order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepcli.cache.errors import UnknownName, UsageError
from stepcli.cache.spec import StoreSpec
from stepcli.probe.config import TaskConfig
from stepcli.probe.splits import LabelledClips, unseen_classes

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Samples:
    """n samples: contiguous runs of a clip's stored frames, some of them backward."""

    clip: Ints
    """[n]: row of the clip among the task's clips."""
    start: Ints
    """[n]: first stored frame of the run."""
    backward: NDArray[np.bool_]
    """[n]: shown in reverse."""
    label: Ints
    """[n]"""

    def __len__(self) -> int:
        return len(self.clip)

    def __getitem__(self, rows: Ints | slice) -> "Samples":
        return Samples(self.clip[rows], self.start[rows], self.backward[rows], self.label[rows])

    def frames(self, length: int) -> Ints:
        """[n, length]: the stored frames in the order in which they are shown."""
        steps = np.arange(length)
        order = np.where(self.backward[:, None], steps[::-1], steps)
        return self.start[:, None] + order


@dataclass(frozen=True, slots=True)
class Task:
    """Samples to train on, epoch by epoch, and samples to test on."""

    clips: tuple[str, ...]
    """Ids of the clips that are used, train then test."""
    groups: tuple[str, ...]
    """What a clip must not be torn apart from: its source video, subject or episode."""
    classes: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    """Nearly symmetric classes, by index."""
    length: int
    """Frames that a probe sees."""
    stored_frames: int
    reverses: bool
    """Whether clips are shown backward too."""
    labels: Ints
    """[clips]: class when shown forward."""
    backward_labels: Ints
    """[clips]: class when shown backward."""
    train_clips: int
    """The first so many clips are for training."""
    test: Samples
    warnings: tuple[str, ...]

    @property
    def samples_per_epoch(self) -> int:
        """Training samples of one epoch."""
        return self.train_clips * (2 if self.reverses else 1)

    def epoch(self, data_seed: int, epoch: int) -> Samples:
        """Every training clip once (in the arrow task once a direction), each on a fresh crop.

        The same for the same arguments: a run that resumes sees what it would have seen.
        """
        random = np.random.default_rng((data_seed, epoch))
        order = random.permutation(self.samples_per_epoch)
        clip, backward = order % self.train_clips, order >= self.train_clips
        start = random.integers(0, self.stored_frames - self.length + 1, len(order))
        label = np.where(backward, self.backward_labels[clip], self.labels[clip])
        return Samples(clip, start, backward, label)


def make_task(config: TaskConfig, spec: StoreSpec, table: LabelledClips) -> Task:
    """Turn a store's clips into samples.

    Raises:
        UsageError: the store cannot serve the task, or no clip is left for one of its sides.
        UnknownName: a pair names a class that the store has not.
    """
    length = spec.frames if config.clip_frames is None else config.clip_frames
    if length > spec.frames:
        raise UsageError(
            f"--clip-frames {length}: the store has {spec.frames} frames a clip; ask for at most "
            "that, or extract with more --frames"
        )
    pairs = table.pairs if config.pairs is None else config.pairs
    for label in (label for pair in pairs for label in pair):
        if label not in table.classes:
            raise UnknownName("label in pairs", label, table.classes)
    if config.name == "arrow":
        return _arrow(config, spec, table, pairs, length)
    return _build(table, table.classes, pairs, None, spec.frames, length)


def _arrow(
    config: TaskConfig,
    spec: StoreSpec,
    table: LabelledClips,
    pairs: Sequence[tuple[str, str]],
    length: int,
) -> Task:
    if spec.token_scope != "frame":
        raise UsageError(
            f"the arrow task reverses stored frames, but this store's tokens depend on more than "
            f"their own frame (token_scope: {spec.token_scope}); extract with an image backbone"
        )
    if not pairs:
        raise UsageError(
            "the arrow task needs pairs of opposite classes and the store's table has none; "
            "give --pairs FILE with the columns label,partner"
        )
    partner = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    partner |= {name: name for name in table.invariant if name not in partner}
    classes = tuple(name for name in table.classes if name in partner)
    return _build(table, classes, pairs, partner, spec.frames, length)


def _build(
    table: LabelledClips,
    classes: tuple[str, ...],
    pairs: Sequence[tuple[str, str]],
    partner: dict[str, str] | None,
    stored: int,
    length: int,
) -> Task:
    index = {name: i for i, name in enumerate(classes)}
    train, test = (
        [row for row in side if row.label in index] for side in (table.train, table.test)
    )
    for name, side in (("train", train), ("test", test)):
        if not side:
            raise UsageError(
                f"no {name} clip has a label of the pairs; the pairs name: {', '.join(classes)}"
            )
    warnings = list(table.warnings)
    left_out = len(table.train) + len(table.test) - len(train) - len(test)
    if left_out:
        warnings.append(f"{left_out} clips whose label has no partner are left out of the task")
    rows = [*train, *test]
    labels = np.array([index[row.label] for row in rows])
    backward_labels = labels
    if partner is not None:
        backward_labels = np.array([index[partner[row.label]] for row in rows])
    ways = np.array([False] if partner is None else [False, True])
    shown = _every_view(len(train), len(rows), stored, length, ways, labels, backward_labels)
    seen = {*labels[: len(train)].tolist(), *backward_labels[: len(train)].tolist()}
    if warning := unseen_classes(seen, shown.label.tolist(), classes):
        warnings.append(warning)
    return Task(
        clips=tuple(row.id for row in rows),
        groups=tuple(row.group or row.id for row in rows),
        classes=classes,
        pairs=tuple((index[a], index[b]) for a, b in pairs),
        length=length,
        stored_frames=stored,
        reverses=partner is not None,
        labels=labels,
        backward_labels=backward_labels,
        train_clips=len(train),
        test=shown,
        warnings=tuple(warnings),
    )


def _every_view(
    first: int,
    stop: int,
    stored: int,
    length: int,
    ways: NDArray[np.bool_],
    labels: Ints,
    backward_labels: Ints,
) -> Samples:
    """The first, middle and last crop of clips [first, stop), each in every direction.

    A backward sample is the reversal of a forward one, so what does not see order has exactly 50 %.
    """
    starts = np.unique([0, (stored - length) // 2, stored - length])
    clip = np.repeat(np.arange(first, stop), len(starts) * len(ways))
    start = np.tile(np.repeat(starts, len(ways)), stop - first)
    backward = np.tile(ways, (stop - first) * len(starts))
    return Samples(clip, start, backward, np.where(backward, backward_labels[clip], labels[clip]))
