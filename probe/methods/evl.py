"""EVL: one query that reads the backbone's last layers one after another.

Source: Lin et al., "Frozen CLIP Models are Efficient Video Learners", arXiv 2208.03550 (ECCV 2022),
section 3; OpenGVLab/efficient-video-recognition, model.py (EVLDecoder) and vision_transformer.py
(TransformerDecoderLayer), with enable_temporal_cross_attention=False.

    y_t = x_t + conv(x)_t + p_t        conv: 3 taps a channel and a bias, p from zero
    q <- q + W_o MultiHead(LN(q); LN(y), LN(y)),   q <- q + MLP(LN(q))
    logits = W LN(q) + b

Decoder layer i of n reads the tokens of backbone layer i - n - 1, so the last one reads the last.
QuickGELU, MLP of 4D; weights Xavier-uniform.

Deviations: no attention between neighbouring frames: it takes the backbone's own queries and keys
of those layers, which stores do not hold. No dropout (there 0.5 in MLP and classifier). The query
starts from std 0.02, as the authors' initialiser has it that their code does not call. Their code
adds into the features in place; here cached tokens are only read. `width` projects tokens first;
`reuse=true` lets every decoder layer read the one layer of a store that holds no more. A missing
frame is zero for its neighbours and gets no attention. Deviation that changes no value: no token is
projected to a key or a value (see folded.py).
"""

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from stepcli.probe.data.layout import Select, TokenLayout
from stepcli.probe.data.selection import take_tokens
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.conv1d import depthwise
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.bank import Options, Probe
from stepcli.probe.nn.layers import (
    StackedFeedForward,
    StackedLayerNorm,
    StackedLinear,
    constant,
    normal,
    require_heads,
    uniform,
)
from stepcli.probe.nn.transformer import one_query
from stepcli.runtime.errors import UsageError


class EvlOptions(Options):
    """Depth, heads and width."""

    layers: int = Field(4, ge=1, description="decoder layers, each on one of the backbone's last")
    heads: int = Field(8, ge=1, description="attention heads; must divide the channels")
    width: int = Field(0, ge=0, description="channels tokens are projected to; 0: their own")
    reuse: bool = Field(False, description="read the only stored layer in every decoder layer")
    tokens: Select = Field("all", description="which stored tokens of a frame")


class DecoderLayer(nn.Module):
    """K layers: what comes before the query reads, and its reading."""

    def __init__(self, dim: int, frames: int, heads: int, generator: Generator) -> None:
        super().__init__()
        self.heads = heads
        self.taps = uniform(3**-0.5, (dim, 3), generator)
        self.conv_bias = uniform(3**-0.5, (dim,), generator)
        self.frame_encoding = constant(0.0, (frames, dim))
        self.norm1 = StackedLayerNorm(dim)
        self.norm2 = StackedLayerNorm(dim)
        self.norm3 = StackedLayerNorm(dim)
        self.query, self.key, self.value, self.out = (
            StackedLinear(dim, dim, generator, init="xavier") for _ in range(4)
        )
        self.mlp = StackedFeedForward(
            dim, 4 * dim, generator, init="xavier", activation="quick-gelu"
        )

    def forward(self, x: Tensor, tokens: Tensor, missing: Tensor | None) -> Tensor:
        """Queries [K, B, D] and tokens [K, B, T, S, D] -> queries."""
        members, clips, _ = x.shape
        moved = _over_time(tokens, self.taps)
        bias = self.conv_bias[:, None, None] + self.frame_encoding[:, None]
        z = (tokens + moved + bias[:, :, :, None]).flatten(2, 3)
        query = self.query(self.norm1(x)).view(members, clips, self.heads, -1)
        row = one_query(query, self.key, self.value, self.norm3(z), missing)
        x = x + self.out(row)
        y: Tensor = self.mlp(self.norm2(x))
        return x + y


def _over_time(tokens: Tensor, taps: Tensor) -> Tensor:
    """Depthwise convolution of tokens [K, B, T, S, D] over T, member by member."""
    each = [depthwise(own.transpose(1, 2), taps[k : k + 1])[0] for k, own in enumerate(tokens)]
    return torch.stack(each).transpose(2, 3)


class Evl(Probe):
    """K EVL decoders."""

    options: EvlOptions

    def __init__(
        self, layout: TokenLayout, classes: int, options: EvlOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        stored = len(layout.layers)
        if stored < options.layers and not (options.reuse and stored == 1):
            wanted = ",".join(str(-i) for i in range(options.layers, 0, -1))
            raise UsageError(
                f"evl with layers={options.layers} reads the backbone's last {options.layers} "
                f"layers, the store holds {stored}; extract with --layers={wanted}, or use "
                f"layers={stored}" + (", or reuse=true" if stored == 1 else "")
            )
        dim = options.width or layout.dim
        require_heads(options.heads, dim)
        self.positions = layout.positions(options.tokens)
        self.project = StackedLinear(layout.dim, dim, generator) if options.width else None
        self.cls = normal(0.02, (dim,), generator)
        self.decoder = nn.ModuleList(
            DecoderLayer(dim, layout.frames, options.heads, generator)
            for _ in range(options.layers)
        )
        self.norm = StackedLayerNorm(dim)
        self.head = StackedLinear(dim, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, (L,) S, D] -> logits [K, B, C]."""
        x = self.cls[:, None].expand(-1, batch.clips, -1)
        stored = batch.every_layer.shape[2]
        for index, layer in enumerate(self.decoder):
            place = 0 if stored == 1 else stored - len(self.decoder) + index
            tokens = take_tokens(batch.layer(place), self.positions)
            if self.project is not None:
                tokens = self.project.shared(tokens)
            else:
                tokens = tokens.expand(self.members, -1, -1, -1, -1)
            if batch.frame_mask is not None:
                tokens = tokens.masked_fill(~batch.frame_mask[:, :, None, None], 0.0)
            x = layer(x, tokens, batch.missing_tokens(tokens.shape[2] * tokens.shape[3]))
        logits: Tensor = self.head(self.norm(x))
        return logits


INFOS = (
    ProbeInfo(
        "evl",
        Evl,
        EvlOptions,
        "EVL's decoder, arXiv 2208.03550",
        order_aware=True,
        lr=4e-4,
        recipe={"lr": 4e-4, "weight_decay": 0.05},
        needs=("the last 4 layers",),
    ),
)
