"""Efficient probing: many learned queries, no key projection, each pooling a slice of the values.

Source: Psomas et al., "Attention, Please! Revisiting Attentive Probing Through the Lens of
Efficiency", arXiv 2506.10178 (ICLR 2026).

    a_m = softmax_i(q_m . z_i / sqrt(D)),   y = [V_1 sum_i a_1i z_i ; ... ; V_M sum_i a_Mi z_i]
    logits = W N(y) + b

As in the authors' code (billpsomas/efficient-probing, poolings/ep.py and probe_heads.py): M = 32
queries, drawn with a deviation of 0.02; one head; values of D / M channels per query without a
bias; no key and no output projection; N without learned parameters.

Deviations: tokens are layer-normed before they enter (there they come from the backbone's last
LayerNorm), and N is a LayerNorm; `pooled_norm=batch` is the authors' batch normalisation (epsilon
1e-6, running statistics in tests). `heads` must divide the channels, as the queries there.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.methods.self_attention import BlockOptions
from stepcli.probe.nn.attention import project_heads
from stepcli.probe.nn.bank import Probe
from stepcli.probe.nn.folded import read_out
from stepcli.probe.nn.layers import StackedLinear, normal, require_heads


class EfficientOptions(BlockOptions):
    """Token options and the number of queries."""

    initial: ClassVar[frozenset[str]] = BlockOptions.initial | {"query_scale"}
    before: ClassVar[dict[str, object]] = {"value_bias": True}

    heads: int = Field(32, ge=1, description="queries; must divide the channels")
    query_scale: float = Field(0.02, gt=0, description="initial deviation of the queries")
    value_bias: bool = Field(False, description="a bias on the values")
    pooled_norm: Literal["layer", "batch"] = Field(
        "layer", description="norm of what the queries pooled, without learned parameters"
    )


class StackedBatchNorm(nn.Module):
    """K batch normalisations without learned parameters: running mean and variance [K, D]."""

    EPS, MOMENTUM = 1e-6, 0.1
    running: ClassVar[tuple[str, ...]] = ("mean", "variance")
    """Buffers that a forward pass in training changes; put back where the step is done again."""
    mean: Tensor
    variance: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, dim))
        self.register_buffer("variance", torch.ones(1, dim))

    def forward(self, x: Tensor) -> Tensor:
        """[K, B, D], by the batch's own statistics in training, else by the running ones."""
        mean, variance = self.mean, self.variance
        if self.training and x.shape[1] > 1:
            variance, mean = torch.var_mean(x, dim=1, correction=0)
            with torch.no_grad():
                unbiased = variance * (x.shape[1] / (x.shape[1] - 1))
                self.mean.lerp_(mean, self.MOMENTUM)
                self.variance.lerp_(unbiased, self.MOMENTUM)
        return (x - mean[:, None]) * (variance[:, None] + self.EPS).rsqrt()


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
        self.queries = normal(options.query_scale, (queries, dim), generator)
        self.value = StackedLinear(dim, dim, generator, bias=options.value_bias)
        self.batch_norm = StackedBatchNorm(dim) if options.pooled_norm == "batch" else None
        self.head = StackedLinear(dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        members, queries, dim = self.queries.shape
        z = self.input(batch)
        total = read_out(z, self.queries / math.sqrt(dim)).total(z, members)
        values = self.value.weight.view(members * queries, dim // queries, dim)
        columns = project_heads(total.transpose(0, 1).flatten(1, 2), values)
        pooled = columns.view(members, dim, -1).transpose(1, 2) + self.value.bias[:, None]
        if self.batch_norm is None:
            pooled = functional.layer_norm(pooled, (dim,))
        else:
            pooled = self.batch_norm(pooled)
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
