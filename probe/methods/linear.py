"""Linear probe: the mean of all tokens of all frames, then one linear layer.

Source: the usual linear evaluation (e.g. Caron et al., arXiv 2104.14294, appendix F), with mean
pooling over time as for CLIP baselines.

    logits = W mean_{t,p} LN(x_{t,p}) + b

Assumed: tokens are normed as for every other method of a comparison (`norm=none` turns it off).
"""

from torch import Generator, Tensor

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedLinear
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions


class Linear(PooledProbe):
    """K linear layers on the mean token."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: PoolOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.head = StackedLinear(layout.dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        logits: Tensor = self.head(self.clip_mean(batch))
        return logits


INFOS = (
    ProbeInfo(
        "linear", Linear, PoolOptions, "mean pooling, linear layer", order_aware=False, lr=1e-2
    ),
)
