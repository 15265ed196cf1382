"""Efficient probing: many learned queries, no key projection, each pooling a slice of the values.

Source: Psomas et al., "Attention, Please! Revisiting Attentive Probing Through the Lens of
Efficiency", arXiv 2506.10178 (ICLR 2026).

    a_m = softmax_i(q_m . z_i),   y = [V_1 sum_i a_1i z_i ; ... ; V_M sum_i a_Mi z_i]
    logits = W BN(y) + b

Known from the abstract: multi-query cross-attention without redundant projections. Assumed, since
the paper's body was not read: 32 queries, scores divided by the square root of the channels, values
of D / M channels a query with a bias, no output projection. Deviation: a LayerNorm without learned
parameters stands in place of batch normalisation, whose statistics would tie members to batches.
"""

import math

from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.self_attention import BlockOptions
from stepcli.probe.nn.attention import project_heads
from stepcli.probe.nn.bank import Probe
from stepcli.probe.nn.folded import read_out
from stepcli.probe.nn.layers import StackedLinear, normal, require_heads
from stepcli.probe.registry import ProbeInfo


class EfficientOptions(BlockOptions):
    """Token options and the number of queries."""

    heads: int = Field(8, ge=1, description="queries; must divide the channels")


class Efficient(Probe):
    """K efficient probes."""

    undecayed = Probe.undecayed | {"queries"}

    def __init__(
        self, layout: TokenLayout, classes: int, options: EfficientOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        dim, queries = layout.dim, options.heads
        require_heads(queries, dim)
        self.input = options.token_input(layout, generator)
        self.queries = normal(1.0, (queries, dim), generator)
        self.value = StackedLinear(dim, dim, generator)
        self.head = StackedLinear(dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        members, queries, dim = self.queries.shape
        z = self.input(batch)
        total = read_out(z, self.queries / math.sqrt(dim)).total(z, members)
        values = self.value.weight.view(members * queries, dim // queries, dim)
        columns = project_heads(total.transpose(0, 1).flatten(1, 2), values)
        pooled = columns.view(members, dim, -1).transpose(1, 2)
        pooled = functional.layer_norm(pooled + self.value.bias[:, None], (dim,))
        logits: Tensor = self.head(pooled)
        return logits


INFOS = (
    ProbeInfo(
        "efficient",
        Efficient,
        EfficientOptions,
        "efficient probing, arXiv 2506.10178",
        order_aware=False,
    ),
)
