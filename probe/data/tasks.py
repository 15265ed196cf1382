"""What is shown to a probe and what it should answer: whole clips or crops, forward or backward.

The arrow of time needs no second extraction where a token depends on its own frame alone: the
tokens of the backward video are the forward clip's tokens in reverse order. Only real frames are
reversed or shuffled: padding stays at the end, or its place would give the direction away.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepcli.cache.schema.leakage import Leakage
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.frame_choice import FrameChoice, Ints, crop_starts, shown_frames, spread
from stepcli.probe.data.order_maps import OrderMap, Scene

RULED_OUT = -1e4
"""Logit of a class that a sample cannot be of: its chance is zero, and still a number."""


@dataclass(frozen=True, slots=True)
class Samples:
    """n samples: contiguous runs of a clip's stored frames, some of them backward."""

    clip: Ints
    """[n]: row of the clip among the task's clips."""
    start: Ints
    """[n]: first stored frame of the run; of an order task's samples, which draw of its clip."""
    backward: NDArray[np.bool_]
    """[n]: shown in reverse."""
    label: Ints
    """[n]"""
    picked: Ints | None = None
    """[n, length]: which stored frames, forward, where it is no contiguous run; padding last."""
    real: Ints | None = None
    """[n]: how many of the clip's stored frames are real, the first ones; None: all of them."""
    rows: Ints | None = None
    """[n, length]: row of the clip that each step shows, where an order task arranges the frames:
    then `picked` is what is shown, in that order, and all of it is real."""
    places: Ints | None = None
    """[n]: seed of the order of the tokens of each step, where it is shuffled (twins)."""
    turned: Ints | None = None
    """[n]: row of the clip's reversed view, which backward samples show, where tokens depend on
    other frames than their own; None: backward samples show the clip's own tokens in reverse."""
    last: Ints | None = None
    """[n]: last real frame of the clip, where `turned` is given: frame k of the clip is frame
    last - k of its reversed view."""

    def __len__(self) -> int:
        return len(self.clip)

    def __getitem__(self, rows: Ints | slice) -> "Samples":
        optional = (self.picked, self.real, self.rows, self.places, self.turned, self.last)
        place = (self.clip[rows], self.start[rows], self.backward[rows], self.label[rows])
        return Samples(*place, *(None if of is None else of[rows] for of in optional))

    def clips(self, length: int) -> Ints:
        """[n, length]: row of the clip that each step shows."""
        if self.rows is not None:
            return self.rows
        if self.turned is not None:
            shown = np.where(self.backward, self.turned, self.clip)
            return np.broadcast_to(shown[:, None], (len(self), length))
        return np.broadcast_to(self.clip[:, None], (len(self), length))

    def frames(self, length: int) -> Ints:
        """[n, length]: the stored frames in the order in which they are shown.

        Padding comes last in both directions, and repeats the last real frame that is shown, as if
        the backward video had been extracted.
        """
        forward = self._forward(length)
        if self.rows is not None:
            return forward
        steps, last = np.arange(length), self.real_steps(length)[:, None] - 1
        places = np.where(self.backward[:, None], last - steps, np.minimum(steps, last))
        shown = np.take_along_axis(forward, np.maximum(places, 0), axis=1)
        if self.turned is None or self.last is None:
            return shown
        there = np.maximum(self.last[:, None] - shown, 0)
        return np.where(self.backward[:, None], there, shown)

    def real_steps(self, length: int) -> Ints:
        """[n]: how many of the shown steps are real; those after them are padding.

        Of a sample that is all padding every step counts: padding repeats the last frame,
        so what is shown is that frame, standing still.
        """
        if self.real is None:
            return np.full(len(self), length)
        count = (self._forward(length) < self.real[:, None]).sum(axis=1)
        return np.where(count == 0, length, count)

    def mask(self, length: int) -> NDArray[np.bool_] | None:
        """[n, length], False where a shown step is padding; None where none is."""
        shown = np.arange(length) < self.real_steps(length)[:, None]
        return None if shown.all() else shown

    def _forward(self, length: int) -> Ints:
        """[n, length]: the stored frames forward."""
        return self.start[:, None] + np.arange(length) if self.picked is None else self.picked


@dataclass(frozen=True, slots=True)
class Task:
    """Samples to train on, epoch by epoch, and samples to test on."""

    clips: tuple[str, ...]
    """Stored ids of the clips that are used, train then test; every view has one of its own."""
    groups: tuple[str, ...]
    """Kept on one side of a split: its source video, subject or episode."""
    classes: tuple[str, ...]
    """Names, by index."""
    base_classes: int
    """The first `base_classes` classes are trained on: all, or those of base-to-novel's base."""
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
    real_frames: Ints | None
    """[clips]: how many of a clip's stored frames are real, the first ones; None: all of them."""
    labels: Ints
    """[clips]: class when shown forward."""
    backward_labels: Ints
    """[clips]: class when shown backward."""
    train_views: Ints
    """[training clips]: how many stored views each has; together they are the first of `clips`."""
    test: Samples
    """What is reported on: with several views of a clip, its first one represents all."""
    shown: Samples
    """What a probe is shown for that: every test view of every sample."""
    shown_of: Ints
    """[shown]: the sample of `test` that it is a view of."""
    mirror: Ints
    """[C]: the class that a class becomes when left and right are swapped."""
    warnings: tuple[str, ...]
    leakage: Leakage
    """What the test clips share with the training clips."""
    fold_of: Ints | None = None
    """[clips]: where one pass trains on all folds but one each, the fold of each clip, -1 for those
    that are never held out; then the test is all folds together, each for its own probes."""
    folds: int = 0
    """How many."""
    turned: Ints | None = None
    """[clips]: row of each clip's reversed view, where backward samples show that."""
    last: Ints | None = None
    """[clips]: last real frame of each, where `turned` is given."""
    order: OrderMap | None = None
    """Of a task of the order suite: how it arranges frames."""
    scene: Scene | None = None
    """What it draws from."""
    label_sets: NDArray[np.bool_] | None = None
    """[sets, C]: where clips have any number of labels, the classes that each set of labels holds;
    then labels are the numbers of sets."""

    @property
    def train_clips(self) -> int:
        """Clips to train on, each with all its views."""
        return len(self.train_views)

    @property
    def _first_views(self) -> Ints:
        """[training clips]: where the views of each begin among `clips`."""
        return np.cumsum(self.train_views) - self.train_views

    @property
    def shown_ids(self) -> list[str]:
        """Stored clips with the tokens of `shown`, each once."""
        return [self.clips[row] for row in np.unique(self.shown.clips(self.length))]

    @property
    def class_counts(self) -> Ints:
        """[C]: training samples of each class in an epoch."""
        first = self._first_views
        by_way = {False: self.labels, True: self.backward_labels}
        shown = [by_way[way][first] for way in self.trained_ways]
        return self._of_classes(np.concatenate(shown))

    def _of_classes(self, labels: Ints) -> Ints:
        """[C]: how many of some samples have each class."""
        if self.label_sets is None:
            return np.bincount(labels, minlength=len(self.classes))
        counts: Ints = self.label_sets[labels].sum(axis=0)
        return counts

    @property
    def fold_counts(self) -> Ints | None:
        """[folds, C]: training samples of each class in an epoch outside each fold."""
        if self.fold_of is None:
            return None
        first = self._first_views
        counts = np.zeros((self.folds, len(self.classes)), np.int64)
        for way in self.trained_ways:
            labels = (self.backward_labels if way else self.labels)[first]
            for fold in range(self.folds):
                counts[fold] += self._of_classes(labels[self.fold_of[first] != fold])
        return counts

    @property
    def fold_shares(self) -> NDArray[np.float64] | None:
        """[folds]: of an epoch's samples outside each fold."""
        if self.fold_of is None:
            return None
        of = self.fold_of[self._first_views]
        return np.array([float(np.mean(of != fold)) for fold in range(self.folds)])

    def relevant(self, samples: Samples) -> NDArray[np.bool_] | None:
        """[n, C]: which classes each sample has, where it may have any number."""
        return None if self.label_sets is None else self.label_sets[samples.label]

    def folds_of(self, samples: Samples) -> Ints | None:
        """[n]: fold of each sample's clip."""
        return None if self.fold_of is None else self.fold_of[samples.clip]

    def combine(self, logits: Tensor) -> Tensor:
        """Logits of what was shown, [K, shown, C], to one row a sample of `test`.

        Base and novel classes are each told apart among themselves. Over several views
        probabilities are averaged (where clips have any number of labels, those of each class by
        itself); of a view whose left and right are swapped, after swapping its classes back.
        """
        if self.base_classes < len(self.classes):
            novel = torch.arange(len(self.classes)) >= self.base_classes
            of_novel = torch.from_numpy(self.shown.label >= self.base_classes)
            logits = logits.masked_fill(of_novel[:, None] != novel, RULED_OUT)
        if len(self.shown) == len(self.test):
            return logits
        several = self.label_sets is not None
        chances = logits.double().sigmoid() if several else logits.double().softmax(-1)
        of = torch.from_numpy(self.shown_of)
        mirrored = torch.from_numpy(self.shown.label != self.test.label[self.shown_of])
        swapped = chances[:, :, torch.from_numpy(self.mirror)]
        chances = torch.where(mirrored[:, None], swapped, chances)
        total = chances.new_zeros(len(logits), len(self.test), logits.shape[2])
        total.index_add_(1, of, chances)
        views = torch.bincount(of, minlength=len(self.test))
        mean = total / views[:, None]
        return (mean.logit(1e-12) if several else mean.clamp(min=1e-30).log()).float()

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
        elif self.choice == "spread":
            picked = np.tile(spread(self.stored_frames, self.length), (len(order), 1))
        clip = self._first_views[number]
        if (self.train_views > 1).any():
            clip = clip + random.integers(0, self.train_views[number])
        label = np.where(backward, self.backward_labels[clip], self.labels[clip])
        if self.order is not None and self.scene is not None:
            return self._arranged(self.order, self.scene, clip, backward, label, random)
        real = None if self.real_frames is None else self.real_frames[clip]
        if self.shuffles:
            ordered = start[:, None] + np.arange(self.length) if picked is None else picked
            picked = random.permuted(ordered, axis=1)
            if real is not None:
                padding_last = np.argsort(picked >= real[:, None], axis=1, kind="stable")
                picked = np.take_along_axis(picked, padding_last, axis=1)
        samples = Samples(clip, start, backward, label, picked, real)
        return self.with_reversed(samples)

    def with_reversed(self, samples: Samples) -> Samples:
        """Samples that know their clips' reversed views, where backward samples show those."""
        if self.turned is None or self.last is None:
            return samples
        clip = samples.clip
        return replace(samples, turned=self.turned[clip], last=self.last[clip])

    def _arranged(
        self,
        order: OrderMap,
        scene: Scene,
        clip: Ints,
        backward: NDArray[np.bool_],
        label: Ints,
        random: np.random.Generator,
    ) -> Samples:
        """Samples of an order task: each drawn anew, in its direction."""
        drawn = order.arrange(scene, clip, random)
        picked = np.where(backward[:, None], drawn.backward, drawn.forward)
        rows = drawn.rows
        if self.shuffles:
            steps = random.permuted(np.tile(np.arange(self.length), (len(clip), 1)), axis=1)
            picked, rows = (np.take_along_axis(of, steps, axis=1) for of in (picked, rows))
        places = random.integers(0, 2**62, len(clip)) if order.joins else None
        start = np.zeros_like(clip)
        return Samples(clip, start, backward, label, picked, rows=rows, places=places)


def shown_crops(config: TaskConfig, stored: int, real: int | None = None) -> tuple[Samples, int]:
    """What a test shows of one clip, forward: its crops as samples, and their length.

    Args:
        config: Of the task.
        stored: Frames of the clip in the store.
        real: How many of them are real, the first ones; None: all.
    """
    observed, length = shown_frames(config, stored)
    starts, picked = np.array([0]), None
    if config.temporal_crop:
        starts = crop_starts(observed, length)
    else:
        picked = spread(observed, length)[None]
    none, count = np.zeros(len(starts), np.int64), None
    if real is not None:
        count = np.full(len(starts), real)
    return Samples(none, starts, none.astype(bool), none, picked, count), length
