"""k nearest neighbours: no training, only a memory of the training clips.

Source: Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination",
arXiv 1805.01978, section 3.4, as DINO uses it (arXiv 2104.14294): k = 20, temperature 0.07.

    f = mean_{t,p} LN(x_{t,p}) / |.|,   v_c = sum_{i in N_k(f), y_i = c} exp(f.f_i / 0.07)
    logits = log v_c  (of at least 1e-12 of the largest vote)

Deviation: the logarithm, so that a softmax of the logits gives the shares of the votes. Where there
are fewer training samples than k, all of them vote.
"""

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Generator, Tensor

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions

LEAST_VOTE = 1e-12
"""Share of a class that no neighbour has: its logit must be finite."""


class KnnOptions(PoolOptions):
    """Pooling, neighbours and how fast their say falls with distance."""

    k: int = Field(20, ge=1, description="neighbours")
    temperature: float = Field(0.07, gt=0, description="of their weights")


class Knn(PooledProbe):
    """K memories of the training samples' pooled tokens."""

    trained = False
    options: KnnOptions
    memory: Tensor
    memory_labels: Tensor

    def __init__(
        self, layout: TokenLayout, classes: int, options: KnnOptions, generator: Generator
    ) -> None:
        super().__init__(layout, classes, options)
        self.register_buffer("memory", torch.zeros(1, 0, layout.dim))
        self.register_buffer("memory_labels", torch.zeros(1, 0, dtype=torch.long))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        # A memory is as long as the training set was, which only its file knows.
        for name in ("memory", "memory_labels"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, getattr(self, name).new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[TokenBatch, Tensor]]) -> None:
        """Remember the training samples."""
        seen = [(self.clip_direction(batch), labels) for batch, labels in batches]
        members = self.members
        self.memory = torch.cat([f for f, _ in seen]).expand(members, -1, -1).clone()
        labels = torch.cat([y for _, y in seen]).long()
        self.memory_labels = labels.expand(members, *labels.shape).clone()

    def forward(self, batch: TokenBatch) -> Tensor:
        """Tokens [B, T, S, D] -> logits [K, B, C]."""
        similarity = torch.matmul(self.clip_direction(batch), self.memory.transpose(1, 2))
        k = min(self.options.k, similarity.shape[-1])
        nearest, rows = similarity.topk(k, dim=-1)
        # Relative to the nearest one, so that the exponential cannot overflow.
        votes = torch.exp((nearest - nearest.amax(dim=-1, keepdim=True)) / self.options.temperature)
        if self.memory_labels.ndim == 3:
            return self._of_sets(votes, rows)
        labels = self.memory_labels[:, None].expand_as(similarity).gather(2, rows)
        totals = votes.new_zeros(*votes.shape[:2], self.classes).scatter_add(2, labels, votes)
        return torch.log(totals.clamp_min(LEAST_VOTE))

    def _of_sets(self, votes: Tensor, rows: Tensor) -> Tensor:
        """Votes of the neighbours that have a class against those of the others, as log odds
        [K, B, C]; a clip may have any number of classes.
        """
        members = torch.arange(len(rows), device=rows.device)[:, None, None]
        labels = self.memory_labels[members, rows].to(votes)
        having, lacking = ((votes[..., None] * of).sum(2) for of in (labels, 1 - labels))
        return having.clamp_min(LEAST_VOTE).log() - lacking.clamp_min(LEAST_VOTE).log()


INFOS = (
    ProbeInfo(
        "knn", Knn, KnnOptions, "weighted k-NN, arXiv 1805.01978; no training", order_aware=False
    ),
)
