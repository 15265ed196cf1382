"""Linear probe: the mean of all tokens of all frames, then one linear layer.

Source: the usual linear evaluation (e.g. Caron et al., arXiv 2104.14294, appendix F), with mean
pooling over time as for CLIP baselines.

    logits = W mean_{t,p} LN(x_{t,p}) + b

Assumed: tokens are normed as for every other method of a comparison (`norm=none` turns it off).
"""

from typing import Literal

from pydantic import Field
from torch import Generator, Tensor

from stepcli.probe.data.layout import Select, TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.nn.bank import Options, Probe
from stepcli.probe.nn.layers import StackedLinear
from stepcli.probe.registry import ProbeInfo


class PoolOptions(Options):
    """Options of probes that read the mean of a frame's tokens."""

    norm: Literal["tokens", "none"] = Field("tokens", description="LN(x), or tokens as stored")
    tokens: Select = Field("all", description="which stored tokens of a frame")

    def frame_means(self, layout: TokenLayout, batch: TokenBatch) -> Tensor:
        """[B, T, D]: each frame's mean token."""
        return batch.frame_means(layout, self.tokens, self.norm == "tokens")


class Linear(Probe):
    """K linear layers on the mean token."""

    options: PoolOptions

    def __init__(
        self, layout: TokenLayout, classes: int, options: PoolOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        layout.positions(options.tokens)
        self.head = StackedLinear(layout.dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        means = self.options.frame_means(self.layout, batch)
        logits: Tensor = self.head(batch.mean_over_frames(means))
        return logits


INFOS = (
    ProbeInfo(
        "linear", Linear, PoolOptions, "mean pooling, linear layer", order_aware=False, lr=1e-2
    ),
)
