"""Temporal shift on frozen frames: channels move between neighbouring frames, then a residual MLP.

Source: Lin et al., "TSM: Temporal Shift Module", arXiv 1811.08383, section 3.3 (residual shift);
mit-han-lab/temporal-shift-module: one eighth of the channels is taken from the frame after, one
eighth from the frame before, zeros beyond the ends.

    x <- x + W2 ReLU(W1 shift(LN(x)) + b1) + b2   (`blocks` times),   logits = W mean_t x_t + b

Deviations: the shift sits in front of the layers of a network that is trained there; here the
backbone is frozen, so it sits in residual blocks on the frames' mean tokens. A missing frame is
zero.
"""

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedFeedForward, StackedLayerNorm, StackedLinear
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions


class TsmOptions(PoolOptions):
    """Pooling, depth and width."""

    blocks: int = Field(2, ge=1, description="shifts, each with its MLP: how far frames are seen")
    hidden: int = Field(256, ge=1, description="width of an MLP's hidden layer")
    fold: int = Field(8, ge=2, description="1 of `fold` channels moves in each direction")


def shift(x: Tensor, fold: int) -> Tensor:
    """[..., T, D]: D / fold channels come from the frame after, as many from the one before."""
    moved = x.shape[-1] // fold
    after = functional.pad(x[..., 1:, :moved], (0, 0, 0, 1))
    before = functional.pad(x[..., :-1, moved : 2 * moved], (0, 0, 1, 0))
    return torch.cat((after, before, x[..., 2 * moved :]), dim=-1)


class Tsm(PooledProbe):
    """K stacks of residual blocks on shifted frames."""

    options: TsmOptions

    def __init__(
        self, layout: TokenLayout, classes: int, options: TsmOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.norms = nn.ModuleList(StackedLayerNorm(layout.dim) for _ in range(options.blocks))
        self.blocks = nn.ModuleList(
            StackedFeedForward(
                layout.dim, options.hidden, generator, init="torch", activation="relu"
            )
            for _ in range(options.blocks)
        )
        self.head = StackedLinear(layout.dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        x = self.frame_means(batch).expand(self.members, -1, -1, -1)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(shift(batch.without_missing(norm(x)), self.options.fold))
        logits: Tensor = self.head(batch.mean_over_frames(x))
        return logits


INFOS = (
    ProbeInfo(
        "tsm", Tsm, TsmOptions, "temporal shift, arXiv 1811.08383", order_aware=True, lr=3e-3
    ),
)
