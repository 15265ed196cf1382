"""RVM: a gated transformer as recurrent core over all tokens, and an attentive read-out.

Source: Zoran et al., "Recurrent Video Masked Autoencoders", arXiv 2512.13684, as put on frozen
image features by Orlova et al., arXiv 2605.19137 (tue-mps/towards-video-image-frozen,
models/rvm_modules/rvm_blocks.py: GatedTransformerCore and RVMReadout; 67.1 on SSv2 with DINOv3).

    u_t = sigmoid(U_x x_t + U_s s_{t-1}),   r_t = sigmoid(R_x x_t + R_s s_{t-1})
    h_t = LN(Transformer(queries x_t; keys, values r_t * LN(s_{t-1})))
    s_t = (1 - u_t) s_{t-1} + u_t h_t

token by token, s_0 = 0; a layer of the transformer is cross-attention, FFN, self-attention, each
with residual and LayerNorm of epsilon 1e-6. Read-out of all s_t with one query q:

    v = LN(LN(s)) + p_t,   h = q + W_o Attention(q; v),   y = h + FFN(LN(h)),   logits = W y + b

Deviations: tokens enter layer-normed and projected to `width` channels (there as wide as the
backbone's); 2 layers and 4 heads by default (there 4 and 16); `layers=0` leaves a gated mean. A
missing frame leaves the state as it was and is not read out.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from stepcli.probe.data.layout import Select, TokenLayout
from stepcli.probe.data.selection import take_tokens
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.bank import Options, Probe
from stepcli.probe.nn.layers import (
    StackedFeedForward,
    StackedLayerNorm,
    StackedLinear,
    normal,
    require_heads,
)
from stepcli.probe.nn.transformer import StackedAttention, one_query

EPS = 1e-6


class RvmOptions(Options):
    """Width, depth and the read-out's encoding."""

    initial: ClassVar[frozenset[str]] = frozenset({"pe_scale"})

    width: int = Field(256, ge=0, description="channels tokens are projected to; 0: their own")
    layers: int = Field(2, ge=0, description="layers of the core's transformer")
    heads: int = Field(4, ge=1, description="attention heads; must divide the width")
    pe_scale: float = Field(0.3, ge=0, description="initial deviation of the read-out's encoding")
    tokens: Select = Field("all", description="which stored tokens of a frame")


class CoreLayer(nn.Module):
    """K layers: cross-attention to the state, FFN, self-attention."""

    def __init__(self, dim: int, heads: int, generator: Generator) -> None:
        super().__init__()
        self.cross_norm = StackedLayerNorm(dim, EPS)
        self.cross = StackedAttention(dim, heads, generator)
        self.mlp_norm = StackedLayerNorm(dim, EPS)
        self.feed_forward = StackedFeedForward(dim, 4 * dim, generator, init="torch")
        self.self_norm = StackedLayerNorm(dim, EPS)
        self.self_attention = StackedAttention(dim, heads, generator)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Tokens and state [K, B, N, D] -> [K, B, N, D]."""
        x = x + self.cross(self.cross_norm(x), state)
        x = x + self.feed_forward(self.mlp_norm(x))
        normed = self.self_norm(x)
        mixed: Tensor = self.self_attention(normed, normed)
        return x + mixed


class GatedCore(nn.Module):
    """K recurrent cores."""

    def __init__(self, dim: int, heads: int, layers: int, generator: Generator) -> None:
        super().__init__()
        self.input_gates = StackedLinear(dim, 2 * dim, generator, bias=False)
        self.state_gates = StackedLinear(dim, 2 * dim, generator, bias=False)
        self.state_norm = StackedLayerNorm(dim, EPS)
        self.layers = nn.ModuleList(CoreLayer(dim, heads, generator) for _ in range(layers))
        self.norm = StackedLayerNorm(dim, EPS)

    def forward(self, x: Tensor, there: Tensor | None) -> Tensor:
        """Tokens [K, B, T, N, D] -> the state after each frame, [K, B, T, N, D]."""
        gates_of_input = self.input_gates.rows(x)
        state = torch.zeros_like(x[:, :, 0])
        states = []
        for step in range(x.shape[2]):
            gates = torch.sigmoid(gates_of_input[:, :, step] + self.state_gates.rows(state))
            update, reset = gates.chunk(2, dim=-1)
            source = reset * self.state_norm(state)
            h = x[:, :, step]
            for layer in self.layers:
                h = layer(h, source)
            after = state + update * (self.norm(h) - state)
            if there is not None:
                after = torch.where(there[:, step, None, None], after, state)
            state = after
            states.append(state)
        return torch.stack(states, dim=2)


class Rvm(Probe):
    """K recurrent probes."""

    undecayed = Probe.undecayed | {"encoding"}

    def __init__(
        self, layout: TokenLayout, classes: int, options: RvmOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.positions = layout.positions(options.tokens)
        dim = options.width or layout.dim
        require_heads(options.heads, dim)
        self.heads = options.heads
        self.project = StackedLinear(layout.dim, dim, generator) if options.width else None
        self.core = GatedCore(dim, options.heads, options.layers, generator)
        self.core_norm = StackedLayerNorm(dim)
        self.input_norm = StackedLayerNorm(dim)
        self.encoding = normal(options.pe_scale, (layout.frames, dim), generator)
        self.cls = normal(0.02, (dim,), generator)
        self.key = StackedLinear(dim, dim, generator)
        self.value = StackedLinear(dim, dim, generator)
        self.out = StackedLinear(dim, dim, generator)
        self.mlp_norm = StackedLayerNorm(dim)
        self.feed_forward = StackedFeedForward(dim, 4 * dim, generator, init="torch")
        self.head = StackedLinear(dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        tokens = take_tokens(batch.normalized, self.positions)
        if self.project is not None:
            x = self.project.shared(tokens)
        else:
            x = tokens.expand(self.members, -1, -1, -1, -1)
        states = self.core(x, batch.frame_mask)
        z = self.input_norm(self.core_norm(states)) + self.encoding[:, None, :, None]
        z = z.flatten(2, 3)
        query = self.cls.view(self.members, 1, self.heads, -1).expand(-1, z.shape[1], -1, -1)
        missing = batch.missing_tokens(z.shape[2])
        row = one_query(query, self.key, self.value, z, missing)
        row = self.cls[:, None] + self.out(row)
        row = row + self.feed_forward(self.mlp_norm(row))
        logits: Tensor = self.head(row)
        return logits


INFOS = (
    ProbeInfo(
        "rvm",
        Rvm,
        RvmOptions,
        "RVM's gated core on frozen frames, arXiv 2512.13684",
        order_aware=True,
        lr=3e-4,
    ),
)
