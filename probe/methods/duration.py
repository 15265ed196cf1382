"""Duration control: how long the clip is, and nothing that is seen in it.

Source: the protocol of this project. Actions differ in length, and a short clip repeats frames:
what that alone gives away is no recognition.

    f = [log(1 + d), d / (1 + d), n / T],   logits = W2 GELU(W1 f + b1) + b2

with d the seconds from the first shown frame to the last and n the number of different frames shown
(a repeated frame has the time of the one before it).
"""

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.bank import Options, Probe
from stepcli.probe.nn.layers import StackedLinear


class DurationOptions(Options):
    """Width."""

    hidden: int = Field(32, ge=1, description="width of the hidden layer")


class Duration(Probe):
    """K two-layer perceptrons on three numbers."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: DurationOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.up = StackedLinear(3, options.hidden, generator)
        self.head = StackedLinear(options.hidden, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """A batch of B clips -> logits [K, B, C]."""
        facts = batch.facts
        seconds = facts.duration
        share = facts.distinct_frames / facts.seconds.shape[1]
        features = torch.stack((seconds.log1p(), seconds / (1 + seconds), share), dim=1)
        logits: Tensor = self.head(functional.gelu(self.up(features.to(self.up.weight.dtype))))
        return logits


INFOS = (
    ProbeInfo(
        "duration",
        Duration,
        DurationOptions,
        "trained control; sees no token",
        order_aware=False,
        lr=1e-2,
    ),
)
