"""Nearest class mean: no training, one prototype per class.

Source: Snell et al., "Prototypical Networks for Few-shot Learning", arXiv 1703.05175, equation 1,
on frozen features and with the cosine (as in Mensink et al., "Distance-Based Image Classification",
2013, the nearest class mean classifier).

    f = mean_{t,p} LN(x_{t,p}) / |.|,   p_c = mean of f over the training samples of c
    logits = cos(f, p_c) / temperature

A class without a training sample has a prototype of zeros: its logit is 0, as of an orthogonal one.
"""

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions


class PrototypeOptions(PoolOptions):
    """Pooling and temperature."""

    temperature: float = Field(0.07, gt=0, description="divides the cosines; changes no ranking")


class Prototype(PooledProbe):
    """K sets of class means, [K, C, D]."""

    trained = False
    options: PrototypeOptions
    prototypes: Tensor

    def __init__(
        self, layout: TokenLayout, classes: int, options: PrototypeOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.register_buffer("prototypes", torch.zeros(1, classes, layout.dim))

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[TokenBatch, Tensor]]) -> None:
        """Average each class's training samples; the cosine needs no count."""
        sums = torch.zeros_like(self.prototypes[0])
        for batch, labels in batches:
            features = self.clip_direction(batch)
            if labels.ndim == 2:  # any number of classes: a clip counts in each
                sums += labels.T.to(sums) @ features.to(sums)
            else:
                sums.index_add_(0, labels, features.to(sums))
        self.prototypes = functional.normalize(sums, dim=-1).expand_as(self.prototypes).clone()

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        features = self.clip_direction(batch)
        return torch.matmul(features, self.prototypes.transpose(1, 2)) / self.options.temperature


INFOS = (
    ProbeInfo(
        "prototype",
        Prototype,
        PrototypeOptions,
        "nearest class mean, arXiv 1703.05175; no training",
        order_aware=False,
    ),
)
