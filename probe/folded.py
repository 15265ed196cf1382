"""One query's attention over frozen tokens, exactly, without projecting a single token.

A probe with one query (a CLS or a learned vector) reads one row of the attention. With tokens z_i,
keys W_k z_i + b_k and a head's query q, the scores are q.(W_k z_i + b_k) = u.z_i + constant with
u = W_k^T q, and the constant cancels in the softmax. The output is W_v (sum_i a_i z_i) + b_v:
aggregate first, project once. So a step costs two passes over the tokens forward and two backward,
each H*D multiply-adds a token, instead of D*D for every projection.

K probes stack: u is [K*H, D] and each pass is one matrix product that reads the tokens once.
The tokens are frozen, so no gradient to them is ever formed.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from stepcli.cache.errors import UsageError
from stepcli.probe.layers import Init, StackedLayerNorm, StackedLinear
from stepcli.probe.tokens import NORM_EPS


@dataclass(frozen=True, slots=True)
class FoldedTokens:
    """K views z = scale * (tokens + offsets) of the same tokens, never written out."""

    tokens: Tensor
    """[B, T, S, D], the same for every member."""
    offsets: Tensor | None = None
    """[K, T, P, D] with P = 1 (one vector a frame) or P = S (one a token)."""
    scale: Tensor | None = None
    """[K, B, T, S]: 1 / deviation where a LayerNorm acts on tokens + offsets."""
    frame_mask: Tensor | None = None
    """[B, T], False where a frame is missing: it gets no attention."""

    def layer_normed(self, normed_tokens: Tensor) -> "FoldedTokens":
        """LayerNorm of z (without learned scale and shift), still folded.

        Args:
            normed_tokens: LayerNorm of `tokens`, [B, T, S, D]: used as it is without offsets.

        The variance of x + e is var(x) + 2 cov(x, e) + var(e). Covariances of centred vectors keep
        float32 exact enough even where the mean is far from zero.
        """
        if self.offsets is None:
            return FoldedTokens(normed_tokens, None, None, self.frame_mask)
        x = self.tokens - self.tokens.mean(dim=-1, keepdim=True)
        e = self.offsets - self.offsets.mean(dim=-1, keepdim=True)
        dim = x.shape[-1]
        kind = "btsd,ktd->kbts" if e.shape[2] == 1 else "btsd,ktsd->kbts"
        shared = torch.einsum(kind, x, e.squeeze(2) if e.shape[2] == 1 else e)
        variance = (
            x.square().mean(dim=-1) + shared * (2 / dim) + e.square().mean(dim=-1).unsqueeze(1)
        )
        return FoldedTokens(x, e, (variance + NORM_EPS).rsqrt(), self.frame_mask)

    def materialized(self) -> Tensor:
        """z written out for every member, [K, B, T, S, D] (K = 1 without offsets)."""
        z = self.tokens[None]
        if self.offsets is not None:
            z = z + self.offsets[:, None]
        return z if self.scale is None else z * self.scale[..., None]


def attend(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of scores [..., N], and the log of its denominator [...]."""
    weights, log_sum = _Attend.apply(scores)  # type: ignore[no-untyped-call]
    return weights, log_sum


class _Attend(Function):
    """Softmax over the last dimension that also returns the log of its denominator.

    Both from one forward pass, and one backward pass for both: at 64 members the scores are as
    large as the tokens themselves.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor) -> tuple[Tensor, Tensor]:
        weights = scores.softmax(dim=-1)
        # The largest weight is at least 1/N, so its logarithm is safe.
        log_sum = scores.amax(dim=-1) - weights.amax(dim=-1).log()
        ctx.save_for_backward(weights)
        return weights, log_sum

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_weights: Tensor, grad_log_sum: Tensor) -> Tensor:
        (weights,) = ctx.saved_tensors  # type: ignore[attr-defined]
        mean = torch.linalg.vecdot(weights, grad_weights)
        grad: Tensor = grad_weights + (grad_log_sum - mean)[..., None]
        return grad.mul_(weights)


class ReadOut(NamedTuple):
    """What a query gathered from the tokens."""

    total: Tensor
    """[K, B, H, D] (per frame: [K, B, T, H, D]): the attention-weighted sum of z."""
    mass: Tensor
    """[K, B, H] (per frame: [K, B, T, H]): the share of attention that went to the tokens."""


def read_out(
    z: FoldedTokens, directions: Tensor, rival: Tensor | None = None, *, per_frame: bool = False
) -> ReadOut:
    """Attend over z with scores u.z_i, for K members and H heads in two passes over the tokens.

    Args:
        z: The tokens.
        directions: u, [K, H, D], already divided by the square root of the head width.
        rival: Score of the token that is prepended to z, [K, H]; None where there is none.
        per_frame: Attend within each frame alone, not over the whole clip.
    """
    batch, frames, tokens, dim = z.tokens.shape
    members, heads, _ = directions.shape
    flat = z.tokens.reshape(batch * frames * tokens, dim)
    scores = (directions.reshape(members * heads, dim) @ flat.T).view(
        members, heads, batch, frames, tokens
    )
    if z.offsets is not None:
        shift = torch.einsum("khd,ktpd->khtp", directions, z.offsets)
        # In place: in a bank the scores are as large as the tokens.
        scores.add_(shift[:, :, None])
    if z.scale is not None:
        scores = scores * z.scale[:, None]
    if z.frame_mask is not None and not per_frame:
        scores = scores.masked_fill(~z.frame_mask[:, :, None], -torch.inf)
    # A row is what one softmax runs over: a clip, or a frame.
    rows = batch * frames if per_frame else batch
    weights, log_sum = attend(scores.view(members * heads, rows, -1))
    if z.scale is not None:
        weights = (weights.view(scores.shape) * z.scale[:, None]).view(weights.shape)
    total = torch.bmm(weights.transpose(0, 1), flat.view(rows, -1, dim))
    total = total.view(rows, members, heads, dim).transpose(0, 1)
    if z.offsets is not None:
        total = total + _offset_total(weights.view(scores.shape), z.offsets, per_frame)
    mass = log_sum.view(members, heads, rows).transpose(1, 2)
    mass = torch.ones_like(mass) if rival is None else torch.sigmoid(mass - rival[:, None])
    total = total * mass[..., None]
    if per_frame:
        shape = (members, batch, frames, heads)
        return ReadOut(total.view(*shape, dim), mass.reshape(shape))
    return ReadOut(total, mass)


def _offset_total(weights: Tensor, offsets: Tensor, per_frame: bool) -> Tensor:
    """The offsets' part of the attention-weighted sum: [K, rows, H, D] for weights [K,H,B,T,S]."""
    if offsets.shape[2] == 1:
        weights = weights.sum(dim=-1, keepdim=True)
    if per_frame:
        return torch.einsum("khbtp,ktpd->kbthd", weights, offsets).flatten(1, 2)
    return torch.einsum("khbtp,ktpd->kbhd", weights, offsets)


class FoldedAttention(nn.Module):
    """K multi-head attentions of one learned query each: that row of nn.MultiheadAttention.

    The key bias is a parameter as in the textbook, though no output depends on it: it adds the same
    number to every score of a softmax.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        generator: Generator,
        *,
        init: Init = "xavier",
        output_projection: bool = True,
    ) -> None:
        """Build one member.

        Raises:
            UsageError: the heads do not divide the channels.
        """
        super().__init__()
        if dim % heads:
            fitting = [h for h in range(1, 65) if dim % h == 0]
            raise UsageError(
                f"heads={heads} does not divide the tokens' {dim} channels; use one of {fitting}"
            )
        self.heads = heads
        # nn.MultiheadAttention draws its three projections as one matrix [3D, D].
        self.query, self.key, self.value = (
            StackedLinear(dim, dim, generator, init=init, fans=4 * dim) for _ in range(3)
        )
        self.out: StackedLinear | None = None
        if output_projection:
            self.out = StackedLinear(dim, dim, generator, init="vit" if init == "vit" else "torch")
            nn.init.zeros_(self.out.bias)

    def forward(
        self,
        z: FoldedTokens,
        query: Tensor,
        *,
        prepended: Tensor | None = None,
        norm: StackedLayerNorm | None = None,
        per_frame: bool = False,
    ) -> Tensor:
        """Read z out with one query a member.

        Args:
            z: The tokens, before the learned scale and shift of `norm`.
            query: [K, D].
            prepended: One more token among the keys and values, [K, D] (the CLS), as it stands.
            norm: A LayerNorm's learned scale and shift, applied to z.
            per_frame: Attend within each frame alone.

        Returns:
            [K, B, D], or [K, B, T, D] per frame.
        """
        members, dim = query.shape
        width = dim // self.heads
        q = self.query(query[:, None]).view(members * self.heads, 1, width)
        keys = self.key.weight.view(members * self.heads, width, dim)
        u = (torch.bmm(q, keys) / math.sqrt(width)).view(members, self.heads, dim)
        directions = u if norm is None else u * norm.weight[:, None]
        rival = None
        if prepended is not None:
            other = prepended if norm is None else prepended - norm.bias
            rival = torch.einsum("khd,kd->kh", u, other)
        total, mass = read_out(z, directions, rival, per_frame=per_frame)
        if norm is not None:
            scale, shift = (_like(p, total) for p in (norm.weight, norm.bias))
            total = total * scale + mass[..., None] * shift
        if prepended is not None:
            total = total + (1 - mass[..., None]) * _like(prepended, total)
        return self._project(total)

    def _project(self, total: Tensor) -> Tensor:
        """Value and output projection of the gathered vectors [K, ..., H, D] -> [K, ..., D]."""
        members, *rows, heads, dim = total.shape
        flat = total.reshape(members, -1, heads, dim).transpose(1, 2)
        values = self.value.weight.view(members * heads, dim // heads, dim)
        # As in StackedLinear, weights on the left: their gradient needs no copy.
        columns = torch.bmm(values, flat.reshape(members * heads, -1, dim).transpose(1, 2))
        y = (columns.view(members, dim, -1) + self.value.bias[..., None]).transpose(1, 2)
        y = y if self.out is None else self.out(y)
        return y.reshape(members, *rows, dim)


def _like(vectors: Tensor, total: Tensor) -> Tensor:
    """View vectors [K, D] so that they meet total [K, ..., D]."""
    members, dim = vectors.shape
    return vectors.view(members, *(1,) * (total.ndim - 2), dim)
