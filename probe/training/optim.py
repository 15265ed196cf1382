"""AdamW for K probes in one bank, each with a recipe of its own."""

import math
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from stepcli.probe.config import OptimConfig
from stepcli.probe.nn.bank import Probe

EPSILON = 1e-8
"""As torch.optim.AdamW's."""


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """Share of the peak rate at a step in [0, steps): linear rise, then half a cosine to zero.

    Args:
        step: Steps done so far.
        steps: Length of the schedule.
        warmup: Share of the steps in which the rate rises.
    """
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class BankAdamW:
    """Decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101), every member by its recipe.

    torch's fused kernel does the arithmetic, on views of the stacked parameters, and touches each
    value once: at 20 M parameters a probe it waits for memory. Neighbours with the same recipe
    share a view. The kernel is called without torch.optim, whose first optimiser imports torch's
    compiler: two seconds of every command that trains.
    """

    def __init__(self, probe: Probe, recipes: Sequence[OptimConfig], steps: int) -> None:
        """Optimise `probe` for `steps` steps, its members by `recipes` [K]."""
        self._parameters = {name: p for name, p in probe.named_parameters() if p.requires_grad}
        names = {d: [n for n in self._parameters if probe.decays(n) is d] for d in (True, False)}
        self._groups = [
            (members, recipe, recipe.weight_decay if decays else 0.0, names[decays])
            for members, recipe in _runs(recipes)
            for decays in (True, False)
        ]
        """Members, their recipe, and the weight decay of the parameters so named."""
        self._steps = steps
        self.done = 0
        """Steps taken."""
        # Made now, not at the first step: what does not fit into memory is known before it begins.
        self._first = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._second = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        device = next(probe.parameters()).device
        self._count = torch.zeros((), device=device)
        """`done`, where the kernel looks for it; counted there."""
        self._schedule = _Schedule(recipes, steps, device) if device.type == "cuda" else None
        norms = [recipe.clip_norm or math.inf for recipe in recipes]
        self._clips = any(norm < math.inf for norm in norms)
        self._longest = torch.tensor(norms, device=device)

    def step(self) -> None:
        """Take one step along the gradients, then drop them."""
        self._clip()
        rates = None if self._schedule is None else self._schedule.rates(self._count)
        self._count.add_(1)
        for members, recipe, weight_decay, names in self._groups:
            if rates is None:
                rate: float | Tensor = recipe.lr * rate_factor(
                    self.done, self._steps, recipe.warmup
                )
            else:
                rate = rates[members.start]
            self._update(members, recipe, rate, weight_decay, names)
        self.done += 1
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Forget the gradients so far."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def member_state(self, member: int) -> dict[str, Tensor]:
        """One member's moments, [1, ...] by parameter and "first" or "second"."""
        own = slice(member, member + 1)
        first = {f"{name}.first": moment[own] for name, moment in self._first.items()}
        return first | {f"{name}.second": moment[own] for name, moment in self._second.items()}

    def load_state(self, tensors: dict[str, Tensor], done: int) -> None:
        """Take up what `member_state` gave, all members stacked, after `done` steps."""
        self.done = done
        self._count.fill_(done)
        for name in self._parameters:
            self._first[name].copy_(tensors[f"{name}.first"])
            self._second[name].copy_(tensors[f"{name}.second"])

    def _update(
        self,
        members: slice,
        recipe: OptimConfig,
        rate: float | Tensor,
        weight_decay: float,
        names: Sequence[str],
    ) -> None:
        """Step some members' parameters, those that have gradients."""
        parts = []
        for name in names:
            parameter = self._parameters[name]
            if parameter.grad is not None:
                moments = self._first[name], self._second[name]
                tensors = parameter.detach(), parameter.grad, *moments
                parts.append([tensor[members] for tensor in tensors])
        if not parts:
            return
        values, gradients, first, second = (list(each) for each in zip(*parts, strict=True))
        torch._fused_adamw_(
            values,
            gradients,
            first,
            second,
            [],
            [self._count] * len(values),
            lr=rate,
            beta1=recipe.beta1,
            beta2=recipe.beta2,
            weight_decay=weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _clip(self) -> None:
        """Shorten the gradient of each member that is longer than its recipe allows."""
        if not self._clips:
            return
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
        # As torch.nn.utils.clip_grad_norm_.
        factors = (self._longest / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *(1,) * (gradient.ndim - 1)))


class _Schedule:
    """The members' rates on a GPU, where a step that is launched as a graph must read them."""

    def __init__(self, recipes: Sequence[OptimConfig], steps: int, device: torch.device) -> None:
        warmups = sorted({recipe.warmup for recipe in recipes})
        factors = [
            [rate_factor(step, steps, warmup) for warmup in warmups] for step in range(steps)
        ]
        places = [warmups.index(recipe.warmup) for recipe in recipes]
        # In float64, so that a rate is rounded once.
        self._factors = torch.tensor(factors, dtype=torch.float64, device=device)
        self._peaks = torch.tensor([r.lr for r in recipes], dtype=torch.float64, device=device)
        self._places = torch.tensor(places, device=device)

    def rates(self, done: Tensor) -> Tensor:
        """[K] float32, after `done` steps, a number on the device."""
        factors = self._factors.index_select(0, done.long()[None])[0]
        return (self._peaks * factors[self._places]).float()


def _runs(recipes: Sequence[OptimConfig]) -> list[tuple[slice, OptimConfig]]:
    """Slices of neighbours with one recipe."""
    slices, start = [], 0
    for recipe, members in groupby(recipes):
        stop = start + len(list(members))
        slices.append((slice(start, stop), recipe))
        start = stop
    return slices
