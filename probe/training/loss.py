"""What K members are trained to make small, each by its own recipe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stepcli.probe.config import OptimConfig
from stepcli.probe.data.tokens import TokenBatch


@dataclass(frozen=True, slots=True)
class Folds:
    """Which fold the samples of a batch are of."""

    of: Tensor
    """[B]"""
    share: Tensor
    """[folds]: of an epoch's samples outside each fold."""
    others: Tensor | None = None
    """[B]: of the clip that was mixed in."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Folds":
        """The same with other tensors, of the same shapes."""
        others = None if self.others is None else change(self.others)
        return Folds(change(self.of), change(self.share), others)

    def weights(self, held: Tensor) -> Tensor:
        """[K, B]: of each sample for members that hold out the folds `held`, [K].

        0 inside the fold. Outside it as much more as makes the mean over an epoch that of the
        samples outside, so that parts of a batch add up to the whole.
        """
        outside, share = self.of != held[:, None], self.share[held][:, None]
        if self.others is not None:
            outside, share = outside & (self.others != held[:, None]), share.square()
        return outside / share


@dataclass(frozen=True, slots=True)
class Targets:
    """What a batch's B samples should be: a class each, or any number of classes, or with mixup a
    mixture of two clips'."""

    labels: Tensor
    """[B], or [B, C] with 1 for each class of a sample that may have any number."""
    others: Tensor | None = None
    """The same of the clip that was mixed in."""
    share: float | Tensor = 1.0
    """Of `labels`; the rest is the others'."""
    folds: "Folds | None" = None
    """Where members train on all folds but one."""

    def __len__(self) -> int:
        return len(self.labels)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Targets":
        """The same with other tensors, of the same shapes."""
        return Targets(
            change(self.labels),
            None if self.others is None else change(self.others),
            change(self.share) if isinstance(self.share, Tensor) else self.share,
            None if self.folds is None else self.folds.mapped(change),
        )


Part = tuple[TokenBatch, Targets]
"""Of a step's batch, all of it where gradients are not accumulated."""


class MemberLoss:
    """Cross-entropy with each member's label smoothing, class weights and logit adjustment; of
    samples with any number of classes the binary one of each class, mean over the classes."""

    def __init__(
        self, recipes: Sequence[OptimConfig], class_counts: Tensor, device: torch.device
    ) -> None:
        """Losses by `recipes` [K] for the training samples' counts of each class: [C], or
        [K, C] where members have samples of their own.
        """
        self._smoothing = torch.tensor([r.label_smoothing for r in recipes], device=device)
        counts = class_counts.double().clamp(min=1).expand(len(recipes), -1)
        self._shift: Tensor | None = None
        if any(r.logit_adjust for r in recipes):
            prior = (counts / counts.sum(dim=1, keepdim=True)).log()
            shift = torch.stack([r.logit_adjust * p for r, p in zip(recipes, prior, strict=True)])
            self._shift = shift.float().to(device)[:, None]
        self._weights: Tensor | None = None
        if any(r.class_balance for r in recipes):
            weights = torch.stack(
                [balanced(mine, r.class_balance) for r, mine in zip(recipes, counts, strict=True)]
            )
            self._weights = weights.float().to(device)

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """Loss of each member, [K], for logits [K, B, C]."""
        return self.each(logits, targets).mean(dim=1)

    def each(self, logits: Tensor, targets: Targets) -> Tensor:
        """Loss of each member and sample, [K, B], for logits [K, B, C]."""
        if targets.labels.ndim == 2:
            return self._binary(logits, targets)
        if self._shift is not None:
            logits = logits + self._shift
        log_p = functional.log_softmax(logits, dim=-1)
        losses = targets.share * self._against(log_p, targets.labels)
        if targets.others is not None:
            losses = losses + (1 - targets.share) * self._against(log_p, targets.others)
        return losses

    def _binary(self, logits: Tensor, targets: Targets) -> Tensor:
        """Binary cross-entropy of each class against (1 - s) y + s / C, mean over classes, [K, B].

        The smoothing is that of timm's BinaryCrossEntropy.
        """
        wanted = targets.labels
        if targets.others is not None:
            # The loss is linear in what is wanted.
            wanted = targets.share * wanted + (1 - targets.share) * targets.others
        smoothing = self._smoothing[:, None, None]
        smoothed = (1 - smoothing) * wanted.to(logits.dtype) + smoothing / logits.shape[2]
        losses = functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
        return losses.mean(dim=2)

    def _against(self, log_p: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy against (1 - s) one-hot + s uniform (arXiv 1512.00567), [K, B]."""
        right = log_p.gather(2, labels.expand(len(log_p), -1)[..., None])[..., 0]
        smoothing = self._smoothing[:, None]
        losses = -((1 - smoothing) * right + smoothing * log_p.mean(dim=2))
        if self._weights is not None:
            losses = losses * self._weights[:, labels]
        return losses


def balanced(counts: Tensor, beta: float) -> Tensor:
    """Class-balanced weights [C] (arXiv 1901.05555), scaled so that a training sample has 1 on
    average: so parts of a batch, worked on one after another, add up to the whole.
    """
    weights = (1 - beta) / (1 - beta**counts) if beta else torch.ones_like(counts)
    return weights * (counts.sum() / (weights * counts).sum())
