"""The loss of each member: smoothing, class weights, logit adjustment, mixup."""

import torch
from torch import Generator

from stepcli.probe.config import OptimConfig
from stepcli.probe.training.loss import MemberLoss, Targets

CPU = torch.device("cpu")


def test_smoothing_is_torchs() -> None:
    generator = Generator().manual_seed(0)
    logits = torch.randn(2, 5, 4, generator=generator)
    labels = torch.tensor([0, 3, 1, 1, 2])
    recipes = [OptimConfig(label_smoothing=0.0), OptimConfig(label_smoothing=0.3)]
    losses = MemberLoss(recipes, torch.ones(4), CPU)(logits, Targets(labels))
    for member, recipe in enumerate(recipes):
        want = torch.nn.functional.cross_entropy(
            logits[member], labels, label_smoothing=recipe.label_smoothing
        )
        torch.testing.assert_close(losses[member], want)


def test_class_weights_logit_adjustment_and_mixup_are_each_members_own() -> None:
    generator = Generator().manual_seed(0)
    logits = torch.randn(3, 5, 4, generator=generator)
    labels, others = torch.tensor([0, 3, 1, 1, 2]), torch.tensor([1, 1, 0, 3, 2])
    counts = torch.tensor([10, 20, 5, 1])
    recipes = [
        OptimConfig(label_smoothing=0.0, class_balance=0.9),
        OptimConfig(label_smoothing=0.0, logit_adjust=0.5),
        OptimConfig(label_smoothing=0.0),
    ]
    losses = MemberLoss(recipes, counts, CPU)(logits, Targets(labels, others, 0.7))
    entropy = torch.nn.functional.cross_entropy

    def mixed(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        each = 0.7 * entropy(scores, labels, reduction="none") * weights[labels]
        each = each + 0.3 * entropy(scores, others, reduction="none") * weights[others]
        return each.mean()

    weights = 0.1 / (1 - 0.9**counts)
    weights = weights * 36 / (weights * counts).sum()
    torch.testing.assert_close(losses[0], mixed(logits[0], weights))
    prior = (counts / 36).log()
    torch.testing.assert_close(losses[1], mixed(logits[1] + 0.5 * prior, torch.ones(4)))
    torch.testing.assert_close(losses[2], mixed(logits[2], torch.ones(4)))


def test_of_any_number_of_labels_it_is_the_binary_one_mixed_and_smoothed() -> None:
    generator = Generator().manual_seed(0)
    logits = torch.randn(2, 5, 4, generator=generator)
    labels, others = (torch.rand(2, 5, 4, generator=generator) < 0.4).float()
    recipes = [OptimConfig(label_smoothing=0.0), OptimConfig(label_smoothing=0.2)]
    loss = MemberLoss(recipes, torch.ones(4), CPU)
    binary = torch.nn.functional.binary_cross_entropy_with_logits
    plain, mixed = loss(logits, Targets(labels)), loss(logits, Targets(labels, others, 0.7))
    for member, smoothing in enumerate((0.0, 0.2)):
        smoothed = [(1 - smoothing) * each + smoothing / 4 for each in (labels, others)]
        each = [binary(logits[member], wanted) for wanted in smoothed]
        torch.testing.assert_close(plain[member], each[0])
        torch.testing.assert_close(mixed[member], 0.7 * each[0] + 0.3 * each[1])
