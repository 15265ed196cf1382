"""Linear rows that see order: the frames' mean tokens, reduced over time, side by side.

Source: matched baselines of this project. STEP without residual and FFN is a set of frame-weighted
poolings, so plain linear maps of weighted poolings are its baselines.

    early-late:      W [mean of the first half ; mean of the second half] + b
    concat:          W [x_1 ; ... ; x_T] + b
    concat-lowrank:  W [P x_1 ; ... ; P x_T] + b, one P [rank, D] for all frames
    dct:             W [c_0 ; ... ; c_{k-1}] + b, c_j = sum_t x_t cos(pi j (2t + 1) / 2T) (DCT-II)

x_t is the mean token of frame t, normed as for `linear`. The middle one of an odd number of frames
is in both halves. A missing frame is a vector of zeros; halves are halves of what is there.
"""

import math

import torch
from pydantic import Field
from torch import Generator, Tensor

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedLinear
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions
from stepcli.runtime.device_copies import DeviceConstant


class _ZeroedFrames(PooledProbe):
    """What these rows share: the frames' mean tokens, [B, T, D], missing ones zero."""

    def _frames(self, batch: TokenBatch) -> Tensor:
        return batch.without_missing(self.frame_means(batch))


class EarlyLate(_ZeroedFrames):
    """K linear layers on two halves."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: PoolOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.head = StackedLinear(2 * layout.dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        frames = self._frames(batch)
        there = batch.frame_mask
        if there is None:
            there = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        rank = there.cumsum(dim=1) - 1
        count = there.sum(dim=1, keepdim=True)
        halves = []
        for half in (rank < (count + 1) // 2, rank >= count // 2):
            weight = (half & there).to(frames.dtype)
            weight = weight / weight.sum(dim=1, keepdim=True)
            halves.append((weight[..., None] * frames).sum(dim=1))
        logits: Tensor = self.head(torch.cat(halves, dim=1))
        return logits


class Concat(_ZeroedFrames):
    """K linear layers on all frames side by side."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: PoolOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.head = StackedLinear(layout.frames * layout.dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        logits: Tensor = self.head(self._frames(batch).flatten(1))
        return logits


class LowRankOptions(PoolOptions):
    """Pooling and rank."""

    rank: int = Field(64, ge=1, description="channels that a frame is projected to")


class ConcatLowRank(_ZeroedFrames):
    """K linear layers on projected frames side by side."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: LowRankOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.project = StackedLinear(layout.dim, options.rank, generator)
        self.head = StackedLinear(layout.frames * options.rank, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        frames = self._frames(batch)
        projected = self.project(frames.flatten(0, 1))
        shape = (self.members, frames.shape[0], -1)
        logits: Tensor = self.head(projected.reshape(shape))
        return logits


class DctOptions(PoolOptions):
    """Pooling and number of coefficients."""

    k: int = Field(2, ge=1, description="temporal cosine coefficients; 1 is the mean alone")


class Dct(_ZeroedFrames):
    """K linear layers on the first temporal cosine coefficients."""

    options: DctOptions

    def __init__(
        self, layout: TokenLayout, classes: int, options: DctOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.head = StackedLinear(options.k * layout.dim, classes, generator)
        self._waves = DeviceConstant(cosines(options.k, layout.frames))

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        frames = self._frames(batch)
        waves = self._waves.on(frames.device, frames.dtype)
        logits: Tensor = self.head(torch.einsum("kt,btd->bkd", waves, frames).flatten(1))
        return logits


def cosines(count: int, frames: int) -> Tensor:
    """Orthonormal DCT-II rows, [count, frames]; rows beyond the last frequency are zero."""
    times = (2 * torch.arange(frames) + 1) * (math.pi / (2 * frames))
    rows = torch.cos(torch.arange(count)[:, None] * times) * math.sqrt(2 / frames)
    rows[0] /= math.sqrt(2)
    rows[frames:] = 0.0
    return rows


_SOURCE = "matched linear row"
INFOS = (
    ProbeInfo("early-late", EarlyLate, PoolOptions, _SOURCE, order_aware=True, lr=1e-2),
    ProbeInfo("concat", Concat, PoolOptions, _SOURCE, order_aware=True, lr=3e-3),
    ProbeInfo("concat-lowrank", ConcatLowRank, LowRankOptions, _SOURCE, order_aware=True, lr=3e-3),
    ProbeInfo("dct", Dct, DctOptions, _SOURCE, order_aware=True, lr=1e-2),
)
