"""Attentive probe: V-JEPA's attentive pooler, depth 1, and a linear classifier.

Source: Bardes et al., "Revisiting Feature Prediction for Learning Visual Representations from
Video", arXiv 2404.08471, section 5; facebookresearch/jepa, src/models/attentive_pooler.py.

    h = q + Attention(q; LN1(x)),   y = h + FFN(LN2(h)),   logits = W y + b

One learned query q, not normed; keys, values and query projected with biases; no output projection
after the attention; FFN of 4D with GELU; weights truncated normal of std 0.02, zero biases, the
FFN's second matrix divided by sqrt(2), as there.

Deviations: 8 heads by default (theirs: the backbone's), the classifier starts as nn.Linear does.
Deviation that changes no value: the attention is folded (see folded.py).
"""

import math

import torch
from torch import Generator, Tensor, nn

from stepcli.probe.bank import Probe
from stepcli.probe.block import ReadBlock
from stepcli.probe.layers import StackedLinear, normal
from stepcli.probe.methods.self_attention import BlockOptions
from stepcli.probe.registry import ProbeInfo
from stepcli.probe.tokens import TokenBatch, TokenLayout


class Attentive(Probe):
    """K attentive poolers with a classifier each."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: BlockOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.input = options.token_input(layout, generator)
        self.cls = normal(0.0, (layout.dim,), generator)
        nn.init.trunc_normal_(self.cls, std=0.02, a=-0.04, b=0.04, generator=generator)
        self.block = ReadBlock(layout.dim, options.heads, generator, kind="cross")
        with torch.no_grad():
            self.block.feed_forward.down.weight.div_(math.sqrt(2))
        self.head = StackedLinear(layout.dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        logits: Tensor = self.head(self.block(self.input, batch, self.cls))
        return logits


INFOS = (
    ProbeInfo(
        "attentive",
        Attentive,
        BlockOptions,
        "V-JEPA's attentive pooler, arXiv 2404.08471",
        order_aware=False,
    ),
)
