"""The order suite: tasks that ask for one kind of order each, as index maps over stored frames.

A map lists the stored frames of a sample in the order in which they are shown, forward and
backward. The forward sample has the label of the clip's class, the backward one that of the class's
partner. Maps read real frames only, so no sample has padding.

The null of every map: a clip's forward and backward sample show equal multisets of frames (twins:
of tokens), with the labels of a pair. A probe that ignores the order of frames therefore gives both
the same logits; of the pair's two logits the larger one is right for exactly one of the two
samples, and the forced choice is exactly 50 %. Each map's docstring says which other methods are at
the null, and why. "arrow" is not among the maps: it shows frames as they are stored, by crops.

Draws are made by the generator that is given: of an epoch by its seed, of a test by the clip's id.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scene:
    """The clips that a map draws from; rows of one `side` may be shown beside each other."""

    length: int
    """Frames that a probe sees."""
    real: Ints
    """[clips]: how many stored frames are real and may be observed, the first ones."""
    kind: Ints
    """[clips]: number of the clip's pair of classes."""
    side: Ints
    """[clips]: training or test split; also the fold, where several are held out in turn."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """What n samples show, in order, of each of the two labels; all [n, length]."""

    rows: Ints
    """Row of the clip that each step shows."""
    forward: Ints
    """Stored frames of the forward sample."""
    backward: Ints
    """Stored frames of the backward sample."""


class OrderMap(ABC):
    """One kind of order."""

    name: ClassVar[str]
    asks: ClassVar[str]
    """The question, for tables."""
    frames: ClassVar[int]
    """Frames that a probe sees, unless the user gives another number."""
    least_frames: ClassVar[int]
    least_stored: ClassVar[int]
    """With fewer stored frames both labels would show the same."""
    draws: ClassVar[int] = 1
    """Samples of each test clip and direction: several where the map is random."""
    joins: ClassVar[bool] = False
    """Whether each step shows the tokens of two frames; see twins.py."""

    @abstractmethod
    def walk(self, length: int, real: Ints, random: Generator) -> Ints:
        """Stored frames of the forward samples, [n, length], of clips with `real` [n] frames."""

    def arrange(self, scene: Scene, clip: Ints, random: Generator) -> Arranged:
        """Draw samples of clips [n]; the backward sample is the forward one in reverse."""
        forward = self.walk(scene.length, scene.real[clip], random)
        rows = np.broadcast_to(clip[:, None], forward.shape)
        return Arranged(rows, forward, forward[:, ::-1])


def _stops(position: NDArray[np.float64], real: Ints) -> Ints:
    """Frames at positions 0 (first) to 1 (last) of clips with `real` [n] frames."""
    stops: Ints = np.rint(position * (real[:, None] - 1)).astype(np.int64)
    return stops


def _there_and_back(length: int, legs: Ints, onset: Ints, rest: int, real: Ints) -> Ints:
    """Middle, last, middle, first, middle frame: four legs of `legs` [n] steps from step `onset`
    [n], with `rest` steps of standing still half-way, and still before and after.
    """
    step = (np.arange(length) - onset[:, None]).astype(float)
    half = 2.0 * legs[:, None]
    step = np.where(step <= half, step, np.maximum(step - rest, half)) / legs[:, None]
    step = np.clip(step, 0, 4)
    out = np.interp(step, [0, 1, 2, 3, 4], [0, 1, 0, -1, 0])
    middle = (real[:, None] - 1) // 2
    ends = np.where(out > 0, real[:, None] - 1 - middle, middle)
    frames: Ints = middle + np.rint(out * ends).astype(np.int64)
    return frames


class ThereAndBack(OrderMap):
    """Which end of the clip is visited first: middle, last, middle, first, middle frame.

    Null: besides order-blind methods, first-frame, middle-frame, last-frame and first-last are at
    exactly 50 %: the first, middle and last step show the clip's middle frame under both labels.
    Linear maps of time (concat, dct) see it: the two halves differ. Of an even number of shown
    frames the later of the two middle steps counts as the middle; both show the middle frame.
    """

    name = "there-and-back"
    asks = "which end is visited first, from the middle and back to it"
    frames, least_frames, least_stored = 9, 5, 3

    def walk(self, length: int, real: Ints, random: Generator) -> Ints:
        """Four legs of equal length; what is left over is spent standing still half-way."""
        legs = np.full(len(real), (length - 1) // 4)
        rest = length - 1 - 4 * ((length - 1) // 4)
        return _there_and_back(length, legs, np.zeros(len(real), np.int64), rest, real)


class RandomOnset(OrderMap):
    """The same walk with legs of random length that begins at a random step.

    Null: besides order-blind methods, first-frame, last-frame and first-last are at exactly 50 %:
    the first and the last step show the middle frame. An early step shows the last frame more often
    forward and the first frame more often backward, so single early or late steps, and linear maps
    of time, see part of it. About the middle step the walk is as often before as after half-way,
    so middle-frame is near 50 %.
    """

    name = "random-onset"
    asks = "the same at a random moment and speed"
    frames, least_frames, least_stored, draws = 16, 8, 3, 3

    def walk(self, length: int, real: Ints, random: Generator) -> Ints:
        """Legs of 3/32 to a quarter of the length, any onset with room for all four."""
        longest = (length - 1) // 4
        legs = random.integers(max(1, 3 * length // 32), longest + 1, len(real))
        onset = random.integers(0, length - 4 * legs)
        return _there_and_back(length, legs, onset, 0, real)


class Sawtooth(OrderMap):
    """Slowly to the last frame and fast back to the first, again and again from a random phase.

    Null: besides order-blind methods, every linear map of the steps (first-last, concat, dct) has
    no information: the phase is uniform, so that at each step every frame is as likely under both
    labels, and what is added over steps has equal means. Only the relation of neighbouring steps
    differs. 50 % is exact for order-blind methods, of expectation for the others.
    """

    name = "sawtooth"
    asks = "local motion: slowly there and fast back, at a random phase"
    frames, least_frames, least_stored, draws = 16, 8, 3, 3

    def walk(self, length: int, real: Ints, random: Generator) -> Ints:
        """Periods of half the length: three quarters up, one quarter down."""
        period = length // 2
        up = (3 * period + 2) // 4
        phase = random.integers(0, period, len(real))
        step = (np.arange(length) + phase[:, None]) % period
        rising, falling = step / up, 1 - (step - up) / (period - up)
        return _stops(np.where(step < up, rising, falling), real)


class Distractors(OrderMap):
    """The direction of a clip between two clips of other pairs, each in a random direction.

    Null: under both labels the steps around the clip show the same frames in the same order, and
    the clip itself the same frames. So besides order-blind methods, first-frame, last-frame and
    first-last are at exactly 50 %, and middle-frame is for an odd number of steps: the middle one
    then shows the clip's middle frame. The surrounding clips are of the same split (fold), drawn
    apart from the label. Where a split has clips of one pair alone, they are taken from it, and a
    warning reports it.
    """

    name = "distractors"
    asks = "the direction of one clip between others"
    frames, least_frames, least_stored, draws = 13, 6, 2, 3

    def walk(self, length: int, real: Ints, random: Generator) -> Ints:
        """Frames evenly spread over each clip; the reversal of a spread is its mirror."""
        center = (np.arange(length) + 0.5) * real[:, None] / length - 0.5
        near: Ints = np.floor(center).astype(np.int64)
        mirrored = real[:, None] - 1 - near[:, ::-1]
        frames: Ints = np.where(np.arange(length) * 2 < length - 1, near, mirrored)
        if length % 2:
            frames[:, length // 2] = (real - 1) // 2
        return np.clip(frames, 0, real[:, None] - 1)

    def arrange(self, scene: Scene, clip: Ints, random: Generator) -> Arranged:
        """Draw the clips around each clip, and their directions."""
        n, side = len(clip), scene.length // 3
        own = self.walk(scene.length - 2 * side, scene.real[clip], random)
        rows, frames = [], []
        for _ in range(2):
            other = np.empty(n, np.int64)
            for mine, pool in _pools(scene, clip):
                other[mine] = pool[random.integers(0, len(pool), len(mine))]
            shown = self.walk(side, scene.real[other], random)
            turned = random.random(n) < 0.5
            frames.append(np.where(turned[:, None], shown[:, ::-1], shown))
            rows.append(np.broadcast_to(other[:, None], shown.shape))
        mine = np.broadcast_to(clip[:, None], own.shape)
        return Arranged(
            np.concatenate([rows[0], mine, rows[1]], axis=1),
            np.concatenate([frames[0], own, frames[1]], axis=1),
            np.concatenate([frames[0], own[:, ::-1], frames[1]], axis=1),
        )


def _pools(scene: Scene, clip: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Samples by the side and kind of their clip [n], each with the rows to draw from."""
    keys = np.stack([scene.side[clip], scene.kind[clip]], axis=1)
    for side, kind in np.unique(keys, axis=0):
        mine = np.flatnonzero((keys == (side, kind)).all(axis=1))
        here = scene.side == side
        others = np.flatnonzero(here & (scene.kind != kind))
        if len(others):
            yield mine, others
            continue
        for row in np.unique(clip[mine]):
            pool = np.flatnonzero(here & (np.arange(len(here)) != row))
            yield mine[clip[mine] == row], pool


class Twins(OrderMap):
    """Binding: which of two clips, shown at once, runs forward.

    Each step shows the tokens of a frame of the clip and of the frame at the same step of its
    reversal. A tag in extra channels, + or -, marks the asked one: the clip under one label, its
    reversal under the other. The places of the tokens are shuffled.

    Null: over all steps both labels show every token once with + and once with -, so order-blind
    methods are at exactly 50 %. Within each step both labels show the same frames, with the tags
    exchanged. Tokens are normed so that a tagged token has the mean 0 and one variance whatever it
    shows, hence a step's mean token, with or without a LayerNorm before the mean, is the same under
    both labels: what reads mean tokens (linear, first-last, concat, dct, gru, trn, ...) is at 50 %,
    up to the rounding of floats. What is left is which tokens carry + at which step.
    """

    name = "twins"
    asks = "binding: which of two clips shown at once runs forward"
    frames, least_frames, least_stored = 8, 2, 2
    joins = True

    def walk(self, length: int, real: Ints, random: Generator) -> Ints:
        """A random frame of each of equal stretches."""
        edges = np.arange(length + 1) * real[:, None] // length
        low, high = edges[:, :-1], np.maximum(edges[:, 1:], edges[:, :-1] + 1)
        return np.minimum(random.integers(low, high), real[:, None] - 1)


ORDER_MAPS: dict[str, OrderMap] = {
    each.name: each for each in (ThereAndBack(), RandomOnset(), Distractors(), Twins(), Sawtooth())
}
"""By the name of the task."""


def order_map(task: str) -> OrderMap | None:
    """The index map of a task; None of classify and arrow, which show frames as they are stored."""
    return ORDER_MAPS.get(task)
