"""ASU-style: regions of a frame, read with a query made of the semantic units that it shows.

Source: Chen et al., "Video Action Recognition with Attentive Semantic Units", arXiv 2303.09756
(ICCV 2023). There is no public code and the paper's body was not read: this is ASU-style, not ASU.

    a_{t,u} = softmax_u(cos(v_t, e_u) / tau),   q_t = sum_u a_{t,u} e_u         no parameter
    o_{t,r} = MultiHead_{m(r)}(q_t; patches of frame t in region r)            8 regions, 2 modules
    y_t = q_t + MultiHead(LN(q_t); [v_t ; o_{t,1} ; ... ; o_{t,8}])
    y <- y + conv(y) over time,   y <- y + MLP(LN(y))                          `layers` times
    logits = exp(s) cos(mean_t (v_t + y_t), w_c)

v_t: the frame, e_u a semantic unit (body parts, objects, scenes, motions), w_c a label, all in the
space of the text tower.

Known from the abstract and section titles: units drawn from descriptions of the whole set of
actions, two multi-region attention modules each shared by four regions, a parameter-free attention
between visual features and units that makes the query, a decoder of cross-attention and a temporal
1-D convolution. Approximated here: the regions (a module for the four quarters, one for the four
halves), the sums, the depthwise convolution of 3 taps, the depth of the decoder (4 of 1, 2 and 4,
chosen on slices of train: docs/step-defaults.md), tau, no fine-tuning of the encoder; patches enter
layer-normed through one trained projection. A region of a grid too coarse for it is the whole
frame. A missing frame is not read.
"""

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.selection import take_tokens
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.conv1d import depthwise
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.bank import Probe
from stepcli.probe.nn.layers import StackedFeedForward, StackedLayerNorm, StackedLinear, uniform
from stepcli.probe.nn.text_space import FrameOptions, FrameProjection, cosine_logits, register_texts
from stepcli.probe.nn.transformer import StackedAttention
from stepcli.runtime.errors import UsageError

HEAD_WIDTH = 64


class AsuOptions(FrameOptions):
    """The tower's texts, how frames get to them, and the decoder."""

    layers: int = Field(4, ge=1, description="layers of the decoder")
    temperature: float = Field(0.05, gt=0, description="of the units' weights (tau)")


def region_masks(rows: int, columns: int) -> Tensor:
    """[8, rows * columns], True inside: four quarters, then top, bottom, left and right half."""
    top = (torch.arange(rows) < (rows + 1) // 2)[:, None].expand(rows, columns)
    bottom = (torch.arange(rows) >= rows // 2)[:, None].expand(rows, columns)
    left = (torch.arange(columns) < (columns + 1) // 2).expand(rows, columns)
    right = (torch.arange(columns) >= columns // 2).expand(rows, columns)
    quarters = [v & h for v in (top, bottom) for h in (left, right)]
    return torch.stack([*quarters, top, bottom, left, right]).flatten(1)


class UnitDecoder(nn.Module):
    """K decoder layers."""

    def __init__(self, dim: int, heads: int, generator: Generator) -> None:
        super().__init__()
        self.norm1 = StackedLayerNorm(dim)
        self.attention = StackedAttention(dim, heads, generator, init="vit")
        self.taps = uniform(3**-0.5, (dim, 3), generator)
        self.norm2 = StackedLayerNorm(dim)
        self.mlp = StackedFeedForward(dim, 4 * dim, generator, init="vit")

    def forward(self, y: Tensor, sources: Tensor, batch: TokenBatch) -> Tensor:
        """Queries [K, B, T, d] and what they read [K, B, T, 9, d] -> queries."""
        normed = self.norm1(y).flatten(1, 2)[:, :, None]
        read = self.attention(normed, sources.flatten(1, 2))
        y = batch.without_missing(y + read.view_as(y))
        mixed = [depthwise(own, taps[None])[0] for own, taps in zip(y, self.taps, strict=True)]
        y = y + torch.stack(mixed)
        changed: Tensor = self.mlp(self.norm2(y))
        return y + changed


class Asu(Probe):
    """K ASU-style heads."""

    options: AsuOptions
    labels: Tensor
    scale: Tensor
    units: Tensor
    regions: Tensor

    def __init__(
        self, layout: TokenLayout, classes: int, options: AsuOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        text = layout.text(options.tower)
        self.patches = layout.positions("patches")
        grids = [segment.grid for segment in layout.segments if segment.grid is not None]
        if len(grids) > 1:
            raise UsageError(
                f"asu divides one grid of patches into regions, the store holds {len(grids)}; view "
                "or extract it with one of them"
            )
        register_texts(self, layout, text)
        self.register_buffer("units", text.unit_embeddings()[None])
        self.register_buffer("regions", region_masks(*grids[0])[None])
        dim = text.dim
        heads = max(1, dim // HEAD_WIDTH)
        self.frames = FrameProjection(layout, options, text, generator)
        self.project = StackedLinear(layout.dim, dim, generator)
        self.modules_of_four = nn.ModuleList(
            StackedAttention(dim, heads, generator, init="vit") for _ in range(2)
        )
        self.decoder = nn.ModuleList(
            UnitDecoder(dim, heads, generator) for _ in range(options.layers)
        )

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        frames = self.frames(batch, self.members)
        query = self._semantic_query(frames)
        regions = self._regions(batch, query)
        sources = torch.cat((frames[:, :, :, None], regions), dim=3)
        y = query
        for layer in self.decoder:
            y = layer(y, sources, batch)
        video = batch.mean_over_frames(frames + y)
        return cosine_logits(video, self.labels, self.scale)

    def _semantic_query(self, frames: Tensor) -> Tensor:
        """The units that a frame shows, by how much it shows them: [K, B, T, d]."""
        units = self.units[0]
        fits = functional.normalize(frames, dim=-1) @ units.T
        return (fits / self.options.temperature).softmax(dim=-1) @ units

    def _regions(self, batch: TokenBatch, query: Tensor) -> Tensor:
        """What each region says to the query: [K, B, T, 8, d]."""
        patches = self.project.shared(take_tokens(batch.normalized, self.patches))
        flat = patches.flatten(1, 2)
        asked = query.flatten(1, 2)[:, :, None].expand(-1, -1, 4, -1)
        outside = ~self.regions[0]
        read = [
            module(asked, flat, outside[first : first + 4].expand(flat.shape[1], -1, -1))
            for module, first in zip(self.modules_of_four, (0, 4), strict=True)
        ]
        return torch.cat(read, dim=2).view(*query.shape[:3], 8, -1)


INFOS = (
    ProbeInfo(
        "asu",
        Asu,
        AsuOptions,
        "ASU-style, after arXiv 2303.09756; see the header for what is approximated",
        order_aware=True,
        lr=3e-3,
        needs=("CLS", "one grid of patches", "text embeddings", "semantic units"),
    ),
)
