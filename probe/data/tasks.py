"""What is shown to a probe and what it should answer: whole clips or crops, forward or backward.

The arrow of time needs no second extraction where a token depends on its own frame alone: the
tokens of the backward video are the forward clip's tokens in reverse order.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepcli.cache.clips import ClipRow
from stepcli.cache.errors import UnknownName, UsageError
from stepcli.cache.spec import StoreSpec
from stepcli.cache.views import clip_of, is_flip, testing_views, training_views, views_by_clip
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.splits import LabelledClips, base_classes, unseen_classes

Ints = NDArray[np.int64]
RULED_OUT = -1e4
"""Logit of a class that a sample cannot be of: its chance is zero, and still a number."""
FrameChoice = Literal["crop", "jitter", "spread"]
"""Contiguous runs; a random frame of each of equal stretches; evenly spread ones."""


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
    picked: Ints | None = None
    """[n, length]: which stored frames, forward, where it is no contiguous run."""

    def __len__(self) -> int:
        return len(self.clip)

    def __getitem__(self, rows: Ints | slice) -> "Samples":
        picked = None if self.picked is None else self.picked[rows]
        return Samples(
            self.clip[rows], self.start[rows], self.backward[rows], self.label[rows], picked
        )

    def frames(self, length: int) -> Ints:
        """[n, length]: the stored frames in the order in which they are shown."""
        forward = self.picked
        if forward is None:
            forward = self.start[:, None] + np.arange(length)
        return np.where(self.backward[:, None], forward[:, ::-1], forward)


@dataclass(frozen=True, slots=True)
class Task:
    """Samples to train on, epoch by epoch, and samples to test on."""

    clips: tuple[str, ...]
    """Stored ids of the clips that are used, train then test; every view has one of its own."""
    groups: tuple[str, ...]
    """What a clip must not be torn apart from: its source video, subject or episode."""
    classes: tuple[str, ...]
    base_classes: int
    """The first so many classes are trained on: all, or those of base-to-novel's base."""
    pairs: tuple[tuple[int, int], ...]
    """Nearly symmetric classes, by index."""
    length: int
    """Frames that a probe sees."""
    stored_frames: int
    """Of which they are chosen: the stored ones, or the first share that may be observed."""
    choice: FrameChoice
    layer: int | None
    """The only stored layer that is shown, where not all are."""
    trained_ways: tuple[bool, ...]
    """Directions that are trained on: False is forward, True backward."""
    shuffles: bool
    """Whether each training sample's frames come in a fresh random order."""
    labels: Ints
    """[clips]: class when shown forward."""
    backward_labels: Ints
    """[clips]: class when shown backward."""
    train_views: Ints
    """[training clips]: how many stored views each has; together they are the first of `clips`."""
    test: Samples
    """What is reported on: with several views of a clip, its first one stands for all."""
    shown: Samples
    """What a probe is shown for that: every test view of every sample."""
    shown_of: Ints
    """[shown]: the sample of `test` that it is a view of."""
    mirror: Ints
    """[C]: the class that a class becomes when left and right are swapped."""
    warnings: tuple[str, ...]

    @property
    def train_clips(self) -> int:
        """Clips to train on, each with all its views."""
        return len(self.train_views)

    @property
    def class_counts(self) -> Ints:
        """[C]: training samples of each class in an epoch."""
        first = np.cumsum(self.train_views) - self.train_views
        by_way = {False: self.labels, True: self.backward_labels}
        shown = [by_way[way][first] for way in self.trained_ways]
        return np.bincount(np.concatenate(shown), minlength=len(self.classes))

    def combine(self, logits: Tensor) -> Tensor:
        """Logits of what was shown, [K, shown, C], to one row a sample of `test`.

        Base and novel classes are each told apart among themselves. Over several views
        probabilities are averaged; of a view whose left and right are swapped, after swapping its
        classes back.
        """
        if self.base_classes < len(self.classes):
            novel = torch.arange(len(self.classes)) >= self.base_classes
            of_novel = torch.from_numpy(self.shown.label >= self.base_classes)
            logits = logits.masked_fill(of_novel[:, None] != novel, RULED_OUT)
        if len(self.shown) == len(self.test):
            return logits
        chances = logits.double().softmax(-1)
        of = torch.from_numpy(self.shown_of)
        mirrored = torch.from_numpy(self.shown.label != self.test.label[self.shown_of])
        swapped = chances[:, :, torch.from_numpy(self.mirror)]
        chances = torch.where(mirrored[:, None], swapped, chances)
        total = chances.new_zeros(len(logits), len(self.test), logits.shape[2])
        total.index_add_(1, of, chances)
        views = torch.bincount(of, minlength=len(self.test))
        return (total / views[:, None]).clamp(min=1e-30).log().float()

    @property
    def samples_per_epoch(self) -> int:
        """Training samples of one epoch."""
        return self.train_clips * len(self.trained_ways)

    def epoch(self, data_seed: int, epoch: int) -> Samples:
        """Every training clip once (in the arrow task once a direction), each on a fresh crop, on
        freshly chosen frames, in a view drawn anew.

        The same for the same arguments: a run that resumes sees what it would have seen.
        """
        random = np.random.default_rng((data_seed, epoch))
        order = random.permutation(self.samples_per_epoch)
        number = order % self.train_clips
        backward = np.array(self.trained_ways)[order // self.train_clips]
        start = np.zeros(len(order), np.int64)
        picked = None
        if self.choice == "crop":
            start = random.integers(0, self.stored_frames - self.length + 1, len(order))
        elif self.choice == "jitter":
            edges = np.arange(self.length + 1) * self.stored_frames // self.length
            picked = random.integers(edges[:-1], edges[1:], (len(order), self.length))
        else:
            picked = np.tile(spread(self.stored_frames, self.length), (len(order), 1))
        first = np.cumsum(self.train_views) - self.train_views
        clip = first[number]
        if (self.train_views > 1).any():
            clip = clip + random.integers(0, self.train_views[number])
        label = np.where(backward, self.backward_labels[clip], self.labels[clip])
        if self.shuffles:
            ordered = start[:, None] + np.arange(self.length) if picked is None else picked
            picked = random.permuted(ordered, axis=1)
        return Samples(clip, start, backward, label, picked)


def spread(stored: int, length: int) -> Ints:
    """[length]: frames evenly spread over the stored ones, the same seen from either end."""
    centers = (np.arange(length) + 0.5) * stored / length - 0.5
    first = np.floor(centers[: length // 2]).astype(np.int64)
    middle = [(stored - 1) // 2] if length % 2 else []
    return np.concatenate([first, np.array(middle, np.int64), stored - 1 - first[::-1]])


def make_task(config: TaskConfig, spec: StoreSpec, table: LabelledClips) -> Task:
    """Turn a store's clips into samples.

    Raises:
        UsageError: the store cannot serve the task, or no clip is left for one of its sides.
        UnknownName: a pair names a class that the store has not.
    """
    if config.layer is not None and config.layer not in spec.layers:
        held = ", ".join(map(str, spec.layers))
        raise UsageError(f"layer={config.layer}: the store holds layers {held}; choose one of them")
    stored = max(1, round(config.observed * spec.frames))
    length = stored if config.clip_frames is None else config.clip_frames
    if length > stored:
        seen = "" if stored == spec.frames else f", of which {stored} may be observed"
        raise UsageError(
            f"--clip-frames {length}: the store has {spec.frames} frames a clip{seen}; ask for at "
            "most that, or extract with more --frames"
        )
    pairs = table.pairs if config.pairs is None else config.pairs
    for label in (label for pair in pairs for label in pair):
        if label not in table.classes:
            raise UnknownName("label in pairs", label, table.classes)
    if config.name == "arrow" and config.protocol != "all":
        raise UsageError(
            "base-to-novel halves the classes of a data set, the arrow task pairs them: use "
            "--task classify"
        )
    if config.name == "arrow":
        return _arrow(config, spec, table, pairs, stored, length)
    return _build(config, table, table.classes, pairs, None, stored, length)


def _arrow(
    config: TaskConfig,
    spec: StoreSpec,
    table: LabelledClips,
    pairs: Sequence[tuple[str, str]],
    stored: int,
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
    return _build(config, table, classes, pairs, partner, stored, length)


def _build(
    config: TaskConfig,
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
    trained = [views[: config.views] for views in _by_clip(train, training_views)]
    tested = [views if config.test_views else views[:1] for views in _by_clip(test, testing_views)]
    rows = [row for views in (*trained, *tested) for row in views]
    labels = np.array([index[row.label] for row in rows])
    backward_labels = labels
    if partner is not None:
        backward_labels = np.array([index[partner[row.label]] for row in rows])
    choice: FrameChoice = "jitter" if config.jitter else "spread"
    choice = "crop" if config.temporal_crop or length == stored else choice
    ways = np.array([False] if partner is None else [False, True])
    trained_ways = tuple(map(bool, ways))
    if partner is not None and config.directions != "both":
        trained_ways = (config.directions == "backward",)
    seen_rows = sum(map(len, trained))
    counts = np.array([len(views) for views in tested])
    first = seen_rows + np.cumsum(counts) - counts
    shown, shown_of = _every_view(first, counts, stored, length, choice, ways)
    shown = _labelled(shown, labels, backward_labels)
    reported = np.unique(shown_of, return_index=True)[1]
    taught = [(backward_labels if way else labels)[:seen_rows] for way in trained_ways]
    seen = {int(label) for part in taught for label in part}
    if config.protocol == "base-to-novel":
        seen |= set(range(base_classes(classes, config.protocol), len(classes)))
    if warning := unseen_classes(seen, shown.label[reported].tolist(), classes):
        warnings.append(warning)
    return Task(
        clips=tuple(row.id for row in rows),
        groups=tuple(row.group or clip_of(row.id) for row in rows),
        classes=classes,
        base_classes=base_classes(classes, config.protocol),
        pairs=tuple((index[a], index[b]) for a, b in pairs),
        length=length,
        stored_frames=stored,
        choice=choice,
        layer=config.layer,
        trained_ways=trained_ways,
        shuffles=config.frame_order == "shuffled",
        labels=labels,
        backward_labels=backward_labels,
        train_views=np.array([len(views) for views in trained]),
        test=shown[reported],
        shown=shown,
        shown_of=shown_of,
        mirror=_mirror(rows, labels, len(classes)),
        warnings=tuple(warnings),
    )


def _by_clip(
    rows: Sequence[ClipRow], chosen: Callable[[Iterable[str]], list[str]]
) -> list[list[ClipRow]]:
    """The rows of each clip's chosen views, clips in order; the plain view, or the first, leads."""
    ids = [row.id for row in rows]
    return [
        [rows[views[name]] for name in sorted(chosen(views), key=is_flip)]
        for views in views_by_clip(ids).values()
    ]


def _mirror(rows: Sequence[ClipRow], labels: Ints, classes: int) -> Ints:
    """[C]: what each class is called in a flipped view, as the clips' labels say."""
    mirror = np.arange(classes)
    for views in views_by_clip([row.id for row in rows]).values():
        plain = [place for view, place in views.items() if not is_flip(view)]
        flipped = [place for view, place in views.items() if is_flip(view)]
        if plain and flipped:
            a, b = labels[plain[0]], labels[flipped[0]]
            mirror[a], mirror[b] = b, a
    return mirror


def _every_view(
    first: Ints,
    counts: Ints,
    stored: int,
    length: int,
    choice: FrameChoice,
    ways: NDArray[np.bool_],
) -> tuple[Samples, Ints]:
    """Test samples, without labels, in every view of every clip, and which sample each belongs to.

    Crops are the first, middle and last; otherwise a clip is one sample. In the arrow task each is
    shown in both directions: a backward sample is the reversal of a forward one, so what does not
    see order has exactly 50 %.

    Args:
        first: Row of each clip's first view, [n].
        counts: Views of each clip, [n].
        stored: Frames to choose of.
        length: Frames to choose.
        choice: How.
        ways: Directions.
    """
    starts = np.array([0])
    if choice == "crop":
        starts = np.unique([0, (stored - length) // 2, stored - length])
    each = len(starts) * len(ways)
    number = np.repeat(np.arange(len(first)), counts * each)
    view = np.concatenate([np.repeat(np.arange(n), each) for n in counts])
    part = np.tile(np.arange(each), int(counts.sum()))
    picked = None if choice == "crop" else np.tile(spread(stored, length), (len(number), 1))
    backward = ways[part % len(ways)]
    unlabelled = np.zeros(len(number), np.int64)
    samples = Samples(first[number] + view, starts[part // len(ways)], backward, unlabelled, picked)
    return samples, number * each + part


def _labelled(samples: Samples, labels: Ints, backward_labels: Ints) -> Samples:
    label = np.where(samples.backward, backward_labels[samples.clip], labels[samples.clip])
    return replace(samples, label=label)
