"""ActionCLIP's Conv_1D head: a depthwise convolution over time that begins as a shift.

Source: Wang et al., "ActionCLIP", arXiv 2109.08472; sallymmx/ActionCLIP, modules/Visual_Prompt.py,
sim_header "Conv_1D".

    y = mean_t (conv(x)_t + x_t),   logits = W y + b

conv: 3 taps, one filter a channel, no bias; the first quarter of the channels begins by reading the
frame before, the last quarter the frame after, the half between them the frame itself. A frame
beyond the ends is zero.

Deviations: the head there is compared with text, here a linear classifier follows; it reads the
backbone's CLS (`tokens=cls`), here the mean token by default; there `x.view(-1, c, t)` reads time
and channels interleaved, here they are transposed, as the paper means it. A missing frame is zero.
"""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedLinear
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions


def shift_taps(dim: int) -> Tensor:
    """[D, 3]: weights of the frame before, the frame itself and the frame after."""
    taps = torch.zeros(dim, 3)
    quarter = dim // 4
    taps[:quarter, 0] = 1.0
    taps[quarter : dim - quarter, 1] = 1.0
    taps[dim - quarter :, 2] = 1.0
    return taps


def depthwise(x: Tensor, taps: Tensor) -> Tensor:
    """Convolve over time: [..., T, D] and taps [K, D, 3] -> [K, ..., T, D]."""
    before = functional.pad(x, (0, 0, 1, 0))[..., :-1, :]
    after = functional.pad(x, (0, 0, 0, 1))[..., 1:, :]
    w = taps.view(len(taps), *(1,) * (x.ndim - 1), *taps.shape[1:])
    return before * w[..., 0] + x * w[..., 1] + after * w[..., 2]


class Conv1d(PooledProbe):
    """K depthwise convolutions, each with a linear layer."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: PoolOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.taps = nn.Parameter(shift_taps(layout.dim)[None])
        self.head = StackedLinear(layout.dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        frames = batch.without_missing(self.frame_means(batch))
        # The mean over time of a convolution is the taps' sum of means, which all members share.
        each = torch.eye(3, dtype=frames.dtype, device=frames.device)[:, None]
        moved = depthwise(frames, each.expand(-1, frames.shape[-1], -1))
        means = batch.mean_over_frames(moved)
        mixed = torch.einsum("jbd,kdj->kbd", means, self.taps) + means[1]
        logits: Tensor = self.head(mixed)
        return logits


INFOS = (
    ProbeInfo(
        "conv1d",
        Conv1d,
        PoolOptions,
        "ActionCLIP's Conv_1D head, arXiv 2109.08472",
        order_aware=True,
        lr=1e-2,
    ),
)
