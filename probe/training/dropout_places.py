"""Where in a probe its members' dropout acts: on attention weights, and on the head's inputs."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from stepcli.probe.config import RunConfig
from stepcli.probe.nn.attention import FoldedAttention
from stepcli.probe.nn.bank import Probe
from stepcli.probe.nn.dropout import MemberDropout
from stepcli.runtime.errors import UsageError


def place_dropouts(
    probe: Probe, configs: Sequence[RunConfig], device: torch.device
) -> list[MemberDropout]:
    """Put the members' dropout where it acts; returns what has to know the step.

    Raises:
        UsageError: the method has no such place.
    """
    seeds = [config.seed for config in configs]
    method = configs[0].method
    placed: list[MemberDropout] = []
    rates = [config.recipe.attention_dropout for config in configs]
    if any(rates):
        readers = [m for m in probe.modules() if isinstance(m, FoldedAttention)]
        if not readers:
            raise UsageError(
                f"attention_dropout: method {method} has no one-query attention to drop weights "
                "of; use dropout, or a method such as step, attentive or self-attention"
            )
        for reader in readers:
            reader.dropout = MemberDropout(rates, seeds, 1 + len(placed)).to(device)
            placed.append(reader.dropout)
    rates = [config.recipe.dropout for config in configs]
    if any(rates):
        head = getattr(probe, "head", None)
        if not isinstance(head, nn.Module):
            raise UsageError(
                f"dropout: method {method} has no linear classifier whose inputs could be dropped"
            )
        placed.append(MemberDropout(rates, seeds, 0).to(device))
        placed[-1].hook = head.register_forward_pre_hook(partial(_drop_inputs, placed[-1]))
    return placed


def remove_dropouts(probe: Probe, placed: Sequence[MemberDropout]) -> None:
    """Take back what `place_dropouts` has placed: copies of a probe would have it too."""
    for module in probe.modules():
        if isinstance(module, FoldedAttention):
            module.dropout = None
    for dropout in placed:
        if dropout.hook is not None:
            dropout.hook.remove()


def _drop_inputs(
    dropout: MemberDropout, head: nn.Module, inputs: tuple[Tensor, ...]
) -> tuple[Tensor, ...] | None:
    if not head.training:
        return None
    x, *others = inputs
    # What all members read alike, [B, D], each drops differently.
    return dropout(x if x.ndim > 2 else x.expand(len(dropout.seeds), *x.shape)), *others
