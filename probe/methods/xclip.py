"""X-CLIP's head on frozen tokens: a transformer over frames, and texts that look at the clip.

Source: Ni et al., "Expanding Language-Image Pretrained Models for General Video Recognition", arXiv
2208.02816 (ECCV 2022); microsoft/VideoX, X-CLIP/models/{mit,prompt,xclip}.py.

    v = mean_t (MIT(h + p)_t + h_t)                         h_t: CLS of frame t, projected
    g = LN(mean_t (LN(patches) P))                          P [D, d]
    u <- u + MultiHead(LN(u); g, g),  u <- u + MLP(LN(u))   from the texts c, `prompt_layers` times
    logits = exp(s) cos(v, c + alpha * u)

MIT has `mit_layers` blocks: pre-norm, QuickGELU, d / 64 heads, 4d; the cross-attention's query, key
and value have no bias; alpha [d] starts at 0.1; s and the texts are the tower's, frozen. Weights
truncated normal of std 0.02 (the input projections of nn.MultiheadAttention keep torch's), P normal
of std 1. `mit_layers=4` is X-Florence's head (its own encoder was never released).

Deviations: the cross-frame attention inside X-CLIP's encoder belongs to the backbone (extract with
xclip-*); here the encoder is any frozen one. With a backbone that is not the tower's, frames get to
the texts by a trained projection with a LayerNorm (`project=learned`), with one that has no CLS as
the mean of their patches (`frame=mean`). p starts from std 0.3 (there 0.02: with that the head
stays at 50 % of the arrow of time for 60 epochs). Dropout, which is 0 there, is left out. Deviation
that changes no value: mean_t (gamma n_t + beta) P = (gamma mean_t n_t + beta) P, so the clip's mean
of the normed patches is all that is read of them.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.selection import take_tokens
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.bank import Probe
from stepcli.probe.nn.layers import (
    StackedFeedForward,
    StackedLayerNorm,
    constant,
    normal,
)
from stepcli.probe.nn.text_space import FrameOptions, FrameProjection, cosine_logits, register_texts
from stepcli.probe.nn.transformer import Block, StackedAttention

HEAD_WIDTH = 64


class XclipOptions(FrameOptions):
    """The tower's texts, how frames get to them, and depths."""

    initial: ClassVar[frozenset[str]] = frozenset({"pe_scale", "alpha"})

    mit_layers: int = Field(1, ge=1, description="blocks over frames; 4: X-Florence's head")
    prompt_layers: int = Field(2, ge=1, description="layers in which texts look at the clip")
    pe_scale: float = Field(0.3, ge=0, description="initial deviation of the frames' encoding")
    alpha: float = Field(0.1, description="how much the prompt weighs at the start")


class PromptLayer(nn.Module):
    """K layers of cross-attention from texts to patches."""

    def __init__(self, dim: int, generator: Generator) -> None:
        super().__init__()
        heads = max(1, dim // HEAD_WIDTH)
        self.norm1 = StackedLayerNorm(dim)
        self.attention = StackedAttention(dim, heads, generator, init="vit", bias=False)
        self.norm3 = StackedLayerNorm(dim)
        self.mlp = StackedFeedForward(dim, 4 * dim, generator, init="vit", activation="quick-gelu")

    def forward(self, text: Tensor, visual: Tensor) -> Tensor:
        """Texts [K, B, C, d] and patches [K, B, P, d] -> texts."""
        text = text + self.attention(self.norm1(text), visual)
        changed: Tensor = self.mlp(self.norm3(text))
        return text + changed


class Xclip(Probe):
    """K heads of X-CLIP."""

    undecayed = Probe.undecayed | {"position"}
    labels: Tensor
    label_lengths: Tensor
    scale: Tensor

    def __init__(
        self, layout: TokenLayout, classes: int, options: XclipOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        text = layout.text(options.tower)
        self.patches = layout.positions("patches")
        register_texts(self, layout, text)
        dim = text.dim
        self.frames = FrameProjection(layout, options, text, generator)
        self.position = normal(options.pe_scale, (layout.frames, dim), generator)
        heads = max(1, dim // HEAD_WIDTH)
        blocks = [
            Block(dim, heads, generator, init="vit", attention="xavier", activation="quick-gelu")
            for _ in range(options.mit_layers)
        ]
        self.mit = nn.ModuleList(blocks)
        self.patch_norm = StackedLayerNorm(layout.dim)
        self.patch_projection = normal(1.0, (layout.dim, dim), generator)
        self.prompt_norm = StackedLayerNorm(dim)
        self.prompts = nn.ModuleList(
            PromptLayer(dim, generator) for _ in range(options.prompt_layers)
        )
        self.alpha = constant(options.alpha, (dim,))

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        texts = (self.labels * self.label_lengths[..., None])[:, None]
        texts = texts.expand(-1, batch.clips, -1, -1)
        prompted = texts
        visual = self._visual(batch)
        for layer in self.prompts:
            prompted = layer(prompted, visual)
        texts = texts + self.alpha[:, None, None] * prompted
        return cosine_logits(self._video(batch), texts, self.scale)

    def _video(self, batch: TokenBatch) -> Tensor:
        """[K, B, d]."""
        frames = self.frames(batch, self.members)
        mixed = frames + self.position[:, None]
        for block in self.mit:
            mixed = block(mixed, batch.missing)
        return batch.mean_over_frames(mixed + frames)

    def _visual(self, batch: TokenBatch) -> Tensor:
        """Patches averaged over time, in the texts' space: [K, B, P, d]."""
        normed = take_tokens(batch.normalized, self.patches)
        mean = batch.mean_over_frames(normed.flatten(2)).view(normed.shape[0], *normed.shape[2:])
        scaled = mean * self.patch_norm.weight[:, None, None] + self.patch_norm.bias[:, None, None]
        members, clips, patches, dim = scaled.shape
        visual = torch.bmm(scaled.reshape(members, -1, dim), self.patch_projection)
        in_space: Tensor = self.prompt_norm(visual.view(members, clips, patches, -1))
        return in_space


INFOS = (
    ProbeInfo(
        "xclip",
        Xclip,
        XclipOptions,
        "X-CLIP's head, arXiv 2208.02816",
        order_aware=True,
        lr=3e-3,
        recipe={"beta2": 0.98, "weight_decay": 1e-3, "label_smoothing": 0.1},
        needs=("CLS", "patches", "text embeddings"),
    ),
)
