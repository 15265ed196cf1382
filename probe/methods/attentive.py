"""Attentive probe: V-JEPA's attentive pooler and a linear classifier.

Source: depth 1: Bardes et al., "Revisiting Feature Prediction for Learning Visual Representations
from Video", arXiv 2404.08471, section 5; depth 4: Assran et al., "V-JEPA 2", arXiv 2506.09985;
facebookresearch/vjepa2, src/models/attentive_pooler.py.

    x <- Block(x)   depth - 1 times, over all tokens
    h = q + Attention(q; LN1(x)),   y = h + FFN(LN2(h)),   logits = W y + b

One learned query q, not normed; keys, values and query projected with biases; no output projection
after the attention; FFN of 4D with GELU; Block: pre-norm self-attention and FFN of 4D; weights
truncated normal of std 0.02, zero biases; the last matrices of block i, and the FFN's second one,
divided by sqrt(2 i), i counted from 1, the cross-attention's as the last block's, as there.

Deviations: 8 heads by default (theirs: the backbone's), the classifier starts as nn.Linear does;
tokens enter layer-normed, and with `width` projected to fewer channels: depth 4 costs 12 D^2 a
token and block, which at D = 1280 no laptop pays for. Deviation that changes no value: at depth 1
the attention is folded (see folded.py).
"""

import math

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.methods.self_attention import BlockOptions
from stepcli.probe.nn.bank import Probe
from stepcli.probe.nn.block import ReadBlock
from stepcli.probe.nn.layers import StackedFeedForward, StackedLayerNorm, StackedLinear, normal
from stepcli.probe.nn.transformer import Block, one_query


class DeepOptions(BlockOptions):
    """Token options, depth and width."""

    depth: int = Field(4, ge=2, description="blocks, the cross-attention counted")
    width: int = Field(0, ge=0, description="channels tokens are projected to; 0: their own")


class Attentive(Probe):
    """K attentive poolers of depth 1 with a classifier each."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: BlockOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.input = options.token_input(layout, generator)
        self.cls = _query(layout.dim, generator)
        self.block = ReadBlock(layout.dim, options.heads, generator, kind="cross")
        with torch.no_grad():
            self.block.feed_forward.down.weight.div_(math.sqrt(2))
        self.head = StackedLinear(layout.dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        logits: Tensor = self.head(self.block(self.input, batch, self.cls))
        return logits


class DeepAttentive(Probe):
    """K attentive poolers with self-attention over all tokens before the query reads them."""

    def __init__(
        self, layout: TokenLayout, classes: int, options: DeepOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        dim = options.width or layout.dim
        self.input = options.token_input(layout, generator)
        self.project = StackedLinear(layout.dim, dim, generator) if options.width else None
        self.cls = _query(dim, generator)
        blocks = [
            Block(dim, options.heads, generator, init="vit") for _ in range(options.depth - 1)
        ]
        self.norm1 = StackedLayerNorm(dim)
        self.heads = options.heads
        self.query, self.key, self.value = (
            StackedLinear(dim, dim, generator, init="vit") for _ in range(3)
        )
        self.norm2 = StackedLayerNorm(dim)
        self.feed_forward = StackedFeedForward(dim, 4 * dim, generator, init="vit")
        self.head = StackedLinear(dim, classes, generator)
        with torch.no_grad():
            for index, block in enumerate(blocks, 1):
                for linear in (block.attention.out, block.feed_forward.down):
                    linear.weight.div_(math.sqrt(2 * index))
            self.feed_forward.down.weight.div_(math.sqrt(2 * len(blocks)))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        folded = self.input(batch)
        z = folded.materialized().flatten(2, 3)
        z = z.expand(self.members, -1, -1, -1)
        if self.project is not None:
            z = self.project.rows(z.to(self.cls.dtype))
        unread = folded.unread(per_frame=False)
        missing = None if unread is None else unread.flatten(1)
        for block in self.blocks:
            z = block(z, missing)
        query = self.query(self.cls[:, None]).view(self.members, 1, self.heads, -1)
        query = query.expand(-1, z.shape[1], -1, -1)
        row = one_query(query, self.key, self.value, self.norm1(z), missing)
        row = self.cls[:, None] + row
        row = row + self.feed_forward(self.norm2(row))
        logits: Tensor = self.head(row)
        return logits


def _query(dim: int, generator: Generator) -> nn.Parameter:
    query = normal(0.0, (dim,), generator)
    nn.init.trunc_normal_(query, std=0.02, a=-0.04, b=0.04, generator=generator)
    return query


INFOS = (
    ProbeInfo(
        "attentive",
        Attentive,
        BlockOptions,
        "V-JEPA's attentive pooler, arXiv 2404.08471",
        order_aware=False,
    ),
    ProbeInfo(
        "attentive-deep",
        DeepAttentive,
        DeepOptions,
        "V-JEPA 2's attentive pooler of depth 4, arXiv 2506.09985",
        order_aware=False,
        lr=3e-4,
    ),
)
