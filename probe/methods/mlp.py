"""MLP probe: the mean of all tokens of all frames, then two layers.

Source: the non-linear row of probing studies (e.g. Belinkov, arXiv 2102.12452, section 4.1).

    logits = W2 GELU(W1 mean_{t,p} LN(x_{t,p}) + b1) + b2

Assumed: a hidden layer as wide as the tokens (`hidden=0`).
"""

from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedLinear
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions


class MlpOptions(PoolOptions):
    """Pooling and width."""

    hidden: int = Field(0, ge=0, description="width of the hidden layer; 0: the tokens' channels")


class Mlp(PooledProbe):
    """K two-layer perceptrons on the mean token."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: MlpOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        hidden = options.hidden or layout.dim
        self.up = StackedLinear(layout.dim, hidden, generator)
        self.head = StackedLinear(hidden, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        logits: Tensor = self.head(functional.gelu(self.up(self.clip_mean(batch))))
        return logits


INFOS = (ProbeInfo("mlp", Mlp, MlpOptions, "mean pooling, two layers", order_aware=False, lr=1e-3),)
