"""Trained controls: what single frames give away, before anyone speaks of order.

Source: the protocol of this project. On whole clips of opposite actions the first frame alone can
name the class (a closed drawer will be opened), so a gain from order is only claimed over these.

    first-frame: W x_1 + b     last-frame: W x_T + b     middle-frame: W x_{T/2} + b
    first-last: W [x_1 ; x_T] + b

with x_t the mean token of frame t, normed as for `linear`. Frames that are missing from a clip are
skipped: the first and last are those that are there.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Generator, Tensor

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedLinear
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions

Which = Callable[[TokenBatch], Tensor]
"""Chooses a frame of each clip: indices [B]."""


def first(batch: TokenBatch) -> Tensor:
    """Index of each clip's first frame, [B]."""
    if batch.frame_mask is None:
        return torch.zeros(batch.clips, dtype=torch.long, device=batch.device)
    return batch.frame_mask.int().argmax(dim=1)


def last(batch: TokenBatch) -> Tensor:
    """Index of each clip's last frame, [B]."""
    frames = batch.frames
    if batch.frame_mask is None:
        return torch.full((batch.clips,), frames - 1, device=batch.device)
    return frames - 1 - batch.frame_mask.int().flip(1).argmax(dim=1)


class ChosenFrames(PooledProbe):
    """K linear layers on the mean tokens of chosen frames, side by side."""

    which: ClassVar[tuple[Which, ...]]

    def __init__(
        self, layout: TokenLayout, classes: int, options: PoolOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.head = StackedLinear(len(self.which) * layout.dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        means = self.frame_means(batch)
        rows = torch.arange(means.shape[0], device=means.device)
        features = torch.cat([means[rows, frame(batch)] for frame in self.which], dim=1)
        logits: Tensor = self.head(features)
        return logits


def middle(batch: TokenBatch) -> Tensor:
    """Index of the middle one of each clip's frames, the later of two, [B]."""
    frames = batch.frames
    if batch.frame_mask is None:
        return torch.full((batch.clips,), frames // 2, device=batch.device)
    rank = batch.frame_mask.cumsum(dim=1)
    return (rank > batch.frame_mask.sum(dim=1, keepdim=True) // 2).int().argmax(dim=1)


class FirstFrame(ChosenFrames):
    """The first frame alone."""

    which = (first,)


class LastFrame(ChosenFrames):
    """The last frame alone."""

    which = (last,)


class MiddleFrame(ChosenFrames):
    """The middle frame alone."""

    which = (middle,)


class FirstLast(ChosenFrames):
    """First and last frame side by side."""

    which = (first, last)


_SOURCE = "trained control"
INFOS = (
    ProbeInfo("first-frame", FirstFrame, PoolOptions, _SOURCE, order_aware=True, lr=1e-2),
    ProbeInfo("last-frame", LastFrame, PoolOptions, _SOURCE, order_aware=True, lr=1e-2),
    ProbeInfo("middle-frame", MiddleFrame, PoolOptions, _SOURCE, order_aware=True, lr=1e-2),
    ProbeInfo("first-last", FirstLast, PoolOptions, _SOURCE, order_aware=True, lr=1e-2),
)
