"""What a probe with one query looks at: its attention over frames and patches, and its encodings.

The folded read-out never writes attention weights down; they are computed here from the very
directions u and tokens z that it was given: softmax of u.z, with the prepended token's score among
them where there is one. Attention says what was read, not why the answer is what it is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stepcli.cache.schema.spec import Segment
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.nn.bank import Probe
from stepcli.probe.nn.encoding import TokenInput
from stepcli.probe.nn.folded import FoldedTokens, observer
from stepcli.runtime.errors import UsageError


@dataclass(frozen=True, slots=True)
class Attention:
    """Where the query of one probe (K = 1) looked in B clips."""

    weights: Tensor
    """[B, H, T, S], S the tokens that the probe reads; with the prepended token they sum to 1 over
    T and S, or over S where the probe attends frame by frame."""
    prepended: Tensor
    """[B, H] (frame by frame: [B, H, T]): share of the prepended token, the CLS; 0 without one."""
    positions: slice | list[int]
    """Which of the stored tokens of a frame those S are."""

    @property
    def over_frames(self) -> Tensor:
        """[B, H, T]: share of each frame."""
        return self.weights.sum(dim=-1)


def attention(probe: Probe, batch: TokenBatch) -> Attention:
    """The weights with which a probe reads a batch.

    Raises:
        UsageError: the method has no query whose attention is folded.
    """
    calls: list[tuple[FoldedTokens, Tensor, Tensor | None, bool]] = []
    token = observer.set(lambda *call: calls.append(call))
    try:
        with torch.no_grad():
            probe(batch)
    finally:
        observer.reset(token)
    inputs = [module for module in probe.modules() if isinstance(module, TokenInput)]
    if len(calls) != 1 or len(inputs) != 1:
        raise UsageError(
            f"{type(probe).__name__} does not read the tokens with one query, so there is no "
            "attention to show; step, attentive, self-attention and efficient have one"
        )
    z, directions, cls_score, per_frame = calls[0]
    with torch.no_grad():
        return _weights(z, directions, cls_score, per_frame, inputs[0].positions)


def _weights(
    z: FoldedTokens,
    directions: Tensor,
    cls_score: Tensor | None,
    per_frame: bool,
    positions: slice | list[int],
) -> Attention:
    written = z.materialized()[0].double()  # [B, T, S, D]: of the few clips that are looked at
    scores = torch.einsum("hd,btsd->bhts", directions[0].double(), written)
    if z.frame_mask is not None:
        scores = scores.masked_fill(~z.frame_mask[:, None, :, None], -torch.inf)
    if z.kept is not None:
        scores = scores.masked_fill(~z.kept[:, None], -torch.inf)
    # One softmax over what is read together: the clip, or a frame.
    rows = scores if per_frame else scores.flatten(2)
    every = rows
    if cls_score is not None:
        own = cls_score[0].double().view(1, -1, *(1,) * (rows.ndim - 2))
        every = torch.cat([rows, own.expand(*rows.shape[:-1], 1)], dim=-1)
    shares = torch.softmax(every, dim=-1)
    weights = shares[..., : rows.shape[-1]].reshape(scores.shape)
    cls_share = shares[..., rows.shape[-1] :].sum(dim=-1)
    return Attention(weights.float(), cls_share.float(), positions)


def patch_grid(attended: Attention, segments: tuple[Segment, ...]) -> Tensor | None:
    """Attention laid out over the finest grid of patches that is read.

    Args:
        attended: Of a probe.
        segments: The stored tokens of a frame.

    Returns:
        [B, H, T, rows, columns]; None where the probe reads no patches.
    """
    stored = sum(segment.count for segment in segments)
    read = (
        list(range(stored))[attended.positions]
        if isinstance(attended.positions, slice)
        else (attended.positions)
    )
    start, finest = 0, None
    for segment in segments:
        here = range(start, start + segment.count)
        start += segment.count
        within = all(place in read for place in here)
        if (
            segment.grid is not None
            and within
            and (finest is None or segment.count > finest[0].count)
        ):
            finest = segment, [read.index(place) for place in here]
    if finest is None or finest[0].grid is None:
        return None
    picked = attended.weights[..., finest[1]]
    return picked.reshape(*picked.shape[:-1], *finest[0].grid)


def encoding_similarity(probe: Probe) -> Tensor | None:
    """Cosine similarity of the frame encodings of a probe (K = 1), [T, T]; None without any."""
    for module in probe.modules():
        if isinstance(module, TokenInput) and module.frame_encoding is not None:
            encoding = module.frame_encoding[0].detach()
            unit = encoding / encoding.norm(dim=-1, keepdim=True).clamp_min(1e-12)
            similar: Tensor = unit @ unit.T
            return similar
    return None
