"""Temporal relations of several scales: tuples of frames in order, side by side, through an MLP.

Source: Zhou et al., "Temporal Relational Reasoning in Videos", arXiv 1711.08496, equations 1 to 3;
zhoubolei/TRN-pytorch, TRNmodule.RelationModuleMultiScale: 256 channels a frame and in the hidden
layer, at most 3 tuples a scale.

    f_t = P x_t,   logits = sum_{s=2..T} sum_{tuples of s} W_s ReLU(V_s ReLU([f_{t1} ; ... ; f_ts]))

Deviations: tuples are spread evenly over all ordered ones of their scale, where TRN draws them anew
each step, so that one clip always gives one answer; a clip of one frame has the scale 1 alone. A
missing frame is zero.
"""

import itertools
from functools import cache

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedLinear
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions
from stepcli.runtime.device_copies import DeviceConstant

ENUMERATED = 1 << 16
"""Tuples of a scale that are looked through at most; beyond it (T > 18) the first ones."""


class TrnOptions(PoolOptions):
    """Pooling, widths and tuples."""

    width: int = Field(256, ge=1, description="channels that a frame is projected to")
    hidden: int = Field(256, ge=1, description="width of a relation's hidden layer")
    tuples: int = Field(3, ge=1, description="tuples of frames of each scale")


@cache
def spread_tuples(frames: int, scale: int, count: int) -> list[tuple[int, ...]]:
    """At most `count` ordered tuples of `scale` of `frames` frames, evenly over all of them."""
    every = list(itertools.islice(itertools.combinations(range(frames), scale), ENUMERATED))
    if len(every) <= count:
        return every
    return [every[(2 * i + 1) * len(every) // (2 * count)] for i in range(count)]


class Relation(nn.Module):
    """K relations of one scale."""

    def __init__(self, inputs: int, hidden: int, classes: int, generator: Generator) -> None:
        super().__init__()
        self.hidden = StackedLinear(inputs, hidden, generator)
        self.head = StackedLinear(hidden, classes, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Tuples side by side, [K, B, N, s * width] -> their logits [K, B, N, C]."""
        return self.head.rows(functional.relu(self.hidden.rows(x)))


class Trn(PooledProbe):
    """K multi-scale relation networks."""

    options: TrnOptions

    def __init__(
        self, layout: TokenLayout, classes: int, options: TrnOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.project = StackedLinear(layout.dim, options.width, generator)
        self.scales = range(min(2, layout.frames), layout.frames + 1)
        self.relations = nn.ModuleList(
            Relation(scale * options.width, options.hidden, classes, generator)
            for scale in self.scales
        )
        self._tuples = [
            DeviceConstant(torch.tensor(spread_tuples(layout.frames, scale, options.tuples)))
            for scale in self.scales
        ]

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        frames = self.project.shared(self.frame_means(batch))
        frames = functional.relu(batch.without_missing(frames))
        logits = frames.new_zeros(self.members, batch.clips, self.classes)
        for tuples, relation in zip(self._tuples, self.relations, strict=True):
            chosen = frames[:, :, tuples.on(frames.device)]
            logits = logits + relation(chosen.flatten(3)).sum(dim=2)
        return logits


INFOS = (
    ProbeInfo(
        "trn", Trn, TrnOptions, "multi-scale TRN, arXiv 1711.08496", order_aware=True, lr=1e-3
    ),
)
