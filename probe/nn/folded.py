"""One query's attention over frozen tokens, exactly, without projecting a single token.

A probe with one query (a CLS or a learned vector) reads one row of the attention. With tokens z_i,
keys W_k z_i + b_k and a head's query q, the scores are q.(W_k z_i + b_k) = u.z_i + constant with
u = W_k^T q, and the constant cancels in the softmax. The output is W_v (sum_i a_i z_i) + b_v:
aggregate first, project once. So a step costs two passes over the tokens forward and two backward,
each H*D multiply-adds a token, instead of D*D for every projection.

K probes stack: u is [K*H, D] and each pass is one matrix product that reads the tokens once.
The tokens are frozen, so no gradient to them is ever formed.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from stepcli.probe.data.int8_tokens import CodedTokens, covariances
from stepcli.probe.data.tokens import NORM_EPS
from stepcli.probe.nn.attention_kernels import Rows, gather
from stepcli.probe.nn.dropout import MemberDropout


@dataclass(frozen=True, slots=True)
class FoldedTokens:
    """K views z = scale * (tokens + offsets) of the same tokens, never written out."""

    tokens: Tensor | CodedTokens
    """[B, T, S, D], the same for every member."""
    offsets: Tensor | None = None
    """[K, T, P, D] with P = 1 (one vector per frame) or P = S (one per token)."""
    scale: Tensor | None = None
    """[K, B, T, S]: 1 / deviation where a LayerNorm acts on tokens + offsets."""
    frame_mask: Tensor | None = None
    """[B, T], False where a frame is missing: it gets no attention."""
    kept: Tensor | None = None
    """[B, T, S], False where a token is masked: it gets no attention. One of each frame is kept."""

    def layer_normed(self, normed_tokens: Tensor | CodedTokens) -> "FoldedTokens":
        """LayerNorm of z (without learned scale and shift), still folded.

        Args:
            normed_tokens: LayerNorm of `tokens`, [B, T, S, D]: used as it is without offsets.

        The variance of x + e is var(x) + 2 cov(x, e) + var(e). Covariances of centred vectors keep
        float32 exact enough even where the mean is far from zero.
        """
        if self.offsets is None:
            return replace(self, tokens=normed_tokens, scale=None)
        e = self.offsets - self.offsets.mean(dim=-1, keepdim=True)
        dim = e.shape[-1]
        x: Tensor | CodedTokens
        if isinstance(self.tokens, CodedTokens):
            x, own = self.tokens.centered()
            shared = covariances(x, e)
        else:
            x = self.tokens - self.tokens.mean(dim=-1, keepdim=True)
            own = x.square().mean(dim=-1)
            kind = "btsd,ktd->kbts" if e.shape[2] == 1 else "btsd,ktsd->kbts"
            shared = torch.einsum(kind, x, e.squeeze(2) if e.shape[2] == 1 else e)
        variance = own + shared * (2 / dim) + e.square().mean(dim=-1).unsqueeze(1)
        return replace(self, tokens=x, offsets=e, scale=(variance + NORM_EPS).rsqrt())

    def unread(self, *, per_frame: bool) -> Tensor | None:
        """[B, T, S], True where a token gets no attention; None where each gets some.

        `per_frame`: each frame is read for itself, so one that is missing is left to the caller.
        """
        unread = None if self.kept is None else ~self.kept
        if self.frame_mask is None or per_frame:
            return unread
        missing = ~self.frame_mask[..., None]
        if unread is None:
            return missing.expand(-1, -1, self.tokens.shape[2])
        return missing | unread

    def to(self, dtype: torch.dtype) -> "FoldedTokens":
        """With tokens of another type: the products with them are that precise, nothing else.

        int8 codes stay what they are: their products are made from float32 tiles.
        """
        if not isinstance(self.tokens, Tensor) or self.tokens.dtype == dtype:
            return self
        return replace(self, tokens=self.tokens.to(dtype))

    def materialized(self) -> Tensor:
        """z written out for every member, [K, B, T, S, D] (K = 1 without offsets)."""
        tokens = self.tokens
        z = (tokens.floats() if isinstance(tokens, CodedTokens) else tokens)[None]
        if self.offsets is not None:
            z = z + self.offsets[:, None]
        return z if self.scale is None else z * self.scale[..., None]


observer: ContextVar[Callable[[FoldedTokens, Tensor, Tensor | None, bool], None] | None] = (
    ContextVar("observer", default=None)
)
"""Called with read_out's z, directions, cls_score and per_frame, where set."""


class ReadOut(NamedTuple):
    """What Q = K * H queries gathered from R rows, in pieces that are cheap to project."""

    sums: Tensor
    """[R, Q, D]: the attention-weighted sum of the tokens."""
    places: Tensor | None
    """[R, Q, T]: the weights that each frame's offset met, where `sums` is without the offsets."""
    attention_mass: Tensor
    """[R, Q]: the share of attention that went to the tokens; `sums` is not multiplied by it."""
    survivors: Tensor | None
    """[R, Q]: what dropout has left of the tokens' weights; None: all, 1."""
    cls_share: Tensor
    """[R, Q]: the share that went to the prepended token; dropout may have taken it."""

    def total(self, z: FoldedTokens, members: int) -> Tensor:
        """[K, R, H, D]: attention_mass times the weighted sum of z."""
        rows, queries, dim = self.sums.shape
        total = self.sums.view(rows, members, queries // members, dim)
        if self.places is not None and z.offsets is not None:
            places = self.places.view(*total.shape[:3], -1)
            total = total + torch.einsum("rkht,ktd->rkhd", places, z.offsets[:, :, 0])
        return (total * self.attention_mass.view(*total.shape[:3], 1)).transpose(0, 1)


def read_out(
    z: FoldedTokens,
    directions: Tensor,
    cls_score: Tensor | None = None,
    *,
    per_frame: bool = False,
    dropout: MemberDropout | None = None,
) -> ReadOut:
    """Attend over z with scores u.z_i, for K members and H heads in two passes over the tokens.

    Args:
        z: The tokens.
        directions: u, [K, H, D], already divided by the square root of the head width.
        cls_score: Score of the token that is prepended to z, [K, H]; None where there is none.
        per_frame: Attend within each frame alone, not over the whole clip.
        dropout: Drops attention weights in training, the prepended token's too.
    """
    if (observe := observer.get()) is not None:
        observe(z, directions, cls_score, per_frame)
    batch, frames, tokens, dim = z.tokens.shape
    members, heads, _ = directions.shape
    queries = members * heads
    # One softmax runs over a clip, or over a frame.
    count, length = (batch * frames, 1) if per_frame else (batch, frames)
    shift = None
    if z.offsets is not None:
        shift = torch.einsum("khd,ktpd->tkhp", directions, z.offsets).flatten(1, 2)
        shift = shift[:, :, None] if per_frame else shift.transpose(0, 1)[None]
    scale = None
    if z.scale is not None:
        scale = z.scale.reshape(members, count, length * tokens).transpose(0, 1)
    missing = z.unread(per_frame=per_frame)
    survivors = None if dropout is None else dropout.draw((count, heads, length * tokens + 1))
    rows = Rows(
        z.tokens.reshape(count, length * tokens, dim),
        length,
        None if missing is None else missing.reshape(count, length * tokens),
        None if survivors is None else survivors[..., 1:].transpose(0, 1).flatten(1, 2),
        None if dropout is None else dropout.keep_rate.repeat_interleave(heads),
    )
    sums, log_sum, by_place, share = gather(rows, directions.reshape(queries, dim), shift, scale)
    places = None
    if z.offsets is not None and not per_frame and z.offsets.shape[2] == 1:
        places = by_place[..., 0]
    elif z.offsets is not None:
        weights = by_place.view(batch, -1, members, heads, *by_place.shape[2:])
        offsets = z.offsets.view(members, -1, length, *z.offsets.shape[2:])
        sums = sums + torch.einsum("bfkhtp,kftpd->bfkhd", weights, offsets).reshape(sums.shape)
    attention_mass = (
        torch.ones_like(log_sum)
        if cls_score is None
        else torch.sigmoid(log_sum - cls_score.flatten())
    )
    cls_share = 1 - attention_mass
    if rows.keep_rate is None or survivors is None:
        return ReadOut(sums, places, attention_mass, None, cls_share)
    cls_share = cls_share * survivors[..., 0].transpose(0, 1).flatten(1) / rows.keep_rate
    return ReadOut(sums, places, attention_mass, share, cls_share)
