"""Transformer blocks of K probes of which every row is needed, so that nothing folds."""

import math
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stepcli.probe.data.tokens import NORM_EPS
from stepcli.probe.nn.layers import (
    Init,
    StackedFeedForward,
    StackedLayerNorm,
    StackedLinear,
    require_heads,
)


class StackedAttention(nn.Module):
    """K multi-head attentions of many queries: nn.MultiheadAttention, whole."""

    def __init__(
        self,
        dim: int,
        heads: int,
        generator: Generator,
        *,
        init: Init = "xavier",
        bias: bool = True,
        out: Init | None = None,
    ) -> None:
        """Build one member; `bias` is of query, key and value alone, `out` the output's init.

        Raises:
            UsageError: the heads do not divide the channels.
        """
        super().__init__()
        require_heads(heads, dim)
        self.heads = heads
        self.query, self.key, self.value = (
            StackedLinear(dim, dim, generator, init=init, fans=4 * dim, bias=bias) for _ in range(3)
        )
        vit = (out or init) == "vit"
        self.out = StackedLinear(dim, dim, generator, init="vit" if vit else "torch")
        nn.init.zeros_(self.out.bias)

    def forward(self, queries: Tensor, sources: Tensor, missing: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            queries: [K, B, N, D].
            sources: Keys and values, [K, B, M, D].
            missing: [B, M] or [B, N, M], True where a source gets no attention.

        Returns:
            [K, B, N, D].
        """
        q, k, v = (
            self._split(linear.rows(x))
            for linear, x in ((self.query, queries), (self.key, sources), (self.value, sources))
        )
        allowed = None
        if missing is not None:
            there = ~missing if missing.ndim == 3 else ~missing[:, None]
            allowed = there[None, :, None]
        if torch.compiler.is_compiling() and q.shape[0] == 1:  # ONNX has no member dimension
            q4, k4, v4 = (each[0] for each in (q, k, v))
            mask = None if allowed is None else allowed[0]
            mixed = functional.scaled_dot_product_attention(q4, k4, v4, attn_mask=mask)[None]
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.out.rows(mixed.transpose(2, 3).flatten(3))

    def _split(self, x: Tensor) -> Tensor:
        """[K, B, N, D] -> [K, B, H, N, D / H]."""
        return x.view(*x.shape[:-1], self.heads, -1).transpose(2, 3)


class Block(nn.Module):
    """K transformer blocks: attention and FFN, each with residual and LayerNorm.

    `pre`: x + A(LN x), then x + F(LN x), as in ViT and CLIP. Otherwise LN(x + A(x)), as in the
    original transformer and torch's default.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        generator: Generator,
        *,
        init: Init,
        attention: Init | None = None,
        activation: Literal["gelu", "quick-gelu", "relu"] = "gelu",
        hidden: int = 0,
        pre: bool = True,
        eps: float = NORM_EPS,
    ) -> None:
        """Build one member.

        Args:
            dim: Channels.
            heads: Attention heads.
            generator: Source of the member's initial values.
            init: Of every matrix.
            attention: Of query, key and value alone, where theirs differs: code that redraws all
                nn.Linear leaves nn.MultiheadAttention's `in_proj_weight` as it was ("xavier").
            activation: Of the FFN.
            hidden: The FFN's width; 0: four times the channels.
            pre: Pre-norm or post-norm.
            eps: Of the LayerNorms.
        """
        super().__init__()
        self.pre = pre
        self.norm1 = StackedLayerNorm(dim, eps)
        self.attention = StackedAttention(dim, heads, generator, init=attention or init, out=init)
        self.norm2 = StackedLayerNorm(dim, eps)
        self.feed_forward = StackedFeedForward(
            dim,
            hidden or 4 * dim,
            generator,
            init="vit" if init == "vit" else "torch",
            activation=activation,
        )

    def forward(self, x: Tensor, missing: Tensor | None = None) -> Tensor:
        """[K, B, N, D] -> the same shape; `missing` [B, N] gets no attention."""
        if not self.pre:
            x = self.norm1(x + self.attention(x, x, missing))
            z: Tensor = self.norm2(x + self.feed_forward(x))
            return z
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, missing)
        y: Tensor = self.feed_forward(self.norm2(x))
        return x + y


def one_query(
    query: Tensor,
    keys: StackedLinear,
    values: StackedLinear,
    sources: Tensor,
    missing: Tensor | None,
) -> Tensor:
    """One row of attention over tokens that differ from member to member, projected last.

    As in folded.py: scores are (W_k^T q).z and the values' matrix meets the weighted sum alone.

    Args:
        query: Projected, by head: [K, B, H, D / H].
        keys: Of z.
        values: Of z.
        sources: z, [K, B, N, D].
        missing: [B, N], True where z is not there.

    Returns:
        [K, B, D], heads side by side.
    """
    members, _, heads, width = query.shape
    dim = sources.shape[-1]
    w_k = keys.weight.view(members, heads, width, dim)
    directions = torch.einsum("kbhw,khwd->kbhd", query, w_k) / math.sqrt(width)
    scores = torch.matmul(directions, sources.transpose(2, 3))
    if missing is not None:
        scores = scores.masked_fill(missing[:, None], -torch.inf)
    gathered = torch.matmul(scores.softmax(dim=-1), sources)
    w_v = values.weight.view(members, heads, width, dim)
    mixed = torch.einsum("kbhd,khwd->kbhw", gathered, w_v).flatten(2)
    return mixed + values.bias[:, None]
