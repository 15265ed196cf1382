"""How tokens enter a probe: which of them, how they are normalised, and their place in time."""

import math
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from stepcli.probe.data.layout import Select, TokenLayout
from stepcli.probe.data.tokens import Norms, TokenBatch
from stepcli.probe.nn.folded import FoldedTokens
from stepcli.probe.nn.layers import normal

Encoding = Literal["none", "learned", "sinusoidal"]
Norm = Literal["tokens", "sum", "none"]


def sinusoidal(positions: int, dim: int) -> Tensor:
    """Vaswani et al. 2017, section 3.5, scaled to a root mean square of 1: [positions, dim]."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
    angles = torch.arange(positions)[:, None] * rates
    waves = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :dim]
    return waves * math.sqrt(2)


class TokenInput(nn.Module):
    """Map tokens x to norm(x) + e or norm(x + e), e a vector per frame and, on request, per place.

    The encoding starts with a standard deviation of `pe_scale`. Tokens normed by themselves have a
    root mean square of 1, so `pe_scale` is the fraction of a token's size at which order speaks.
    """

    def __init__(
        self,
        layout: TokenLayout,
        generator: Generator,
        *,
        select: Select,
        norm: Norm,
        pe: Encoding,
        pe_scale: float,
        patch_pe: bool,
        moving: float = 1.0,
    ) -> None:
        super().__init__()
        self.positions = layout.positions(select)
        self.norm = norm
        self.layout, self.select, self.moving = layout, select, moving
        if moving < 1:
            layout.patches_within(select)
        frames, tokens, dim = layout.frames, layout.selected(select), layout.dim
        self.frame_encoding: Tensor | None
        self.patch_encoding: Tensor | None
        if pe == "learned":
            self.frame_encoding = normal(pe_scale, (frames, dim), generator)
        else:
            waves = sinusoidal(frames, dim)[None] * pe_scale if pe == "sinusoidal" else None
            self.register_buffer("frame_encoding", waves)
        self.register_parameter(
            "patch_encoding", normal(pe_scale, (tokens, dim), generator) if patch_pe else None
        )

    def forward(self, batch: TokenBatch) -> FoldedTokens:
        """Tokens [B, T, S, D] -> z of every member, folded."""
        if self.norm == "sum":
            return self._summed(batch).to(batch.precision)
        return self._summed(batch, for_products=True)

    def _summed(self, batch: TokenBatch, *, for_products: bool = False) -> FoldedTokens:
        kind: Norms = "normalized" if self.norm == "tokens" else "raw"
        tokens = batch.view(kind, self.positions, for_products=for_products)
        offsets = self._offsets(tokens.shape[1])
        kept = batch.kept_tokens(self.layout, self.select, self.moving)
        z = FoldedTokens(tokens, offsets, None, batch.frame_mask, kept)
        if self.norm != "sum":
            return z
        return z.layer_normed(batch.view("normalized", self.positions))

    def block_normed(self, batch: TokenBatch) -> FoldedTokens:
        """LayerNorm of forward's z, for a block that begins with a LayerNorm of its own."""
        kind: Norms = "renormalized" if self.norm == "tokens" else "normalized"
        z = self._summed(batch)
        return z.layer_normed(batch.view(kind, self.positions)).to(batch.precision)

    def _offsets(self, frames: int) -> Tensor | None:
        """[K, T, P, D]."""
        places = None if self.patch_encoding is None else self.patch_encoding[:, None]
        if self.frame_encoding is None:
            return None if places is None else places.expand(-1, frames, -1, -1)
        times = self.frame_encoding[:, :, None]
        return times if places is None else times + places
