"""Temporal self-similarity: how alike each two frames are, beside what they look like on average.

Source: Junejo et al., "View-Independent Action Recognition from Temporal Self-Similarities" (2011),
and Dwibedi et al., "Counting Out Time", arXiv 2006.15418, section 3.1 (similarities as the only
path for time).

    s_{tt'} = cos(x_t, x_t'),   t < t'
    logits = W [mean_t x_t ; GELU(V s + c)] + b

The similarities know order and no appearance, the mean knows appearance and no order. Assumed: the
mean token of a frame, normed as for `linear`, and the cosine in place of Counting Out Time's
softmax of negative distances; the similarities of a clip standardised (`norm_similarities`), those
with a missing frame zero. Limit: W adds what the two say, so the meaning of an order cannot depend
on what the frames show but through V.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedLinear
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions

EPS = 1e-8
"""Added to the variance of a clip's similarities: a still clip has none."""


class SelfSimilarityOptions(PoolOptions):
    """Pooling and width."""

    hidden: int = Field(256, ge=1, description="channels that the similarities are turned into")
    norm_similarities: bool = Field(True, description="standardise a clip's similarities")
    before: ClassVar[dict[str, object]] = {"norm_similarities": False}


class SelfSimilarity(PooledProbe):
    """K linear layers on the mean token and the frames' similarities."""

    options: SelfSimilarityOptions

    def __init__(
        self,
        layout: TokenLayout,
        classes: int,
        options: SelfSimilarityOptions,
        generator: Generator,
    ) -> None:
        super().__init__(layout, classes, options)
        pairs = layout.frames * (layout.frames - 1) // 2
        # A clip of one frame has no pair; the layer then keeps its bias alone.
        self.similar = StackedLinear(max(1, pairs), options.hidden, generator)
        self.head = StackedLinear(layout.dim + options.hidden, classes, generator)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        means = self.frame_means(batch)
        units = batch.without_missing(functional.normalize(means, dim=-1))
        frames = means.shape[1]
        rows, columns = torch.triu_indices(frames, frames, 1, device=means.device)
        similarities = torch.matmul(units, units.transpose(1, 2))[:, rows, columns]
        if frames == 1:
            similarities = means.new_zeros(means.shape[0], 1)
        elif self.options.norm_similarities:
            similarities = _standardised(similarities, _present(batch, rows, columns))
        order = functional.gelu(self.similar(similarities))
        mean = batch.mean_over_frames(means).expand(self.members, -1, -1)
        logits: Tensor = self.head(torch.cat((mean, order), dim=2))
        return logits


def _present(batch: TokenBatch, rows: Tensor, columns: Tensor) -> Tensor | None:
    """[B, pairs], 1 where both frames of a pair are there; None where all are."""
    if batch.frame_mask is None:
        return None
    return (batch.frame_mask[:, rows] & batch.frame_mask[:, columns]).float()


def _standardised(similarities: Tensor, present: Tensor | None) -> Tensor:
    """[B, pairs] with mean 0 and variance 1 in each clip: of frames of one clip the cosines lie so
    close to 1 that a linear layer would see little but a constant."""
    weights = torch.ones_like(similarities) if present is None else present.to(similarities)
    count = weights.sum(dim=1, keepdim=True).clamp(min=1)
    centred = similarities - (similarities * weights).sum(dim=1, keepdim=True) / count
    variance = (centred.square() * weights).sum(dim=1, keepdim=True) / count
    return centred * (variance + EPS).rsqrt() * weights


INFOS = (
    ProbeInfo(
        "self-similarity",
        SelfSimilarity,
        SelfSimilarityOptions,
        "temporal self-similarities, arXiv 2006.15418",
        order_aware=True,
        lr=1e-2,
    ),
)
