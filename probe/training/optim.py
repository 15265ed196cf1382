"""AdamW for K probes in one bank, each with a recipe of its own."""

import math
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from stepcli.probe.config import Recipe
from stepcli.probe.nn.bank import Probe


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

    torch's fused kernel does the arithmetic, on views of the stacked parameters: at 20 M parameters
    a probe the step is bound by memory, and the fused kernel touches each value once. Neighbours
    with the same recipe share a view.
    """

    def __init__(self, probe: Probe, recipes: Sequence[Recipe], steps: int) -> None:
        """Optimise `probe` for `steps` steps, its members by `recipes` [K]."""
        self._parameters = [p for p in probe.parameters() if p.requires_grad]
        self._recipes = list(recipes)
        self._steps = steps
        self.done = 0
        """Steps taken."""
        self._names = {id(parameter): name for name, parameter in probe.named_parameters()}
        self._views: list[tuple[Tensor, Tensor, slice]] = []
        groups = []
        for members, recipe in _runs(recipes):
            for decays in (True, False):
                views = []
                for name, parameter in probe.named_parameters():
                    if probe.decays(name) is decays:
                        view = parameter.detach()[members]
                        self._views.append((view, parameter, members))
                        views.append(view)
                groups.append(
                    {
                        "params": views,
                        "betas": (recipe.beta1, recipe.beta2),
                        "weight_decay": recipe.weight_decay if decays else 0.0,
                        "recipe": recipe,
                    }
                )
        self._adamw = torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, fused=True)
        # Made now, not at the first step: what does not fit into memory is known before it begins.
        for view, _, _ in self._views:
            self._adamw.state[view] = {
                "step": torch.zeros((), device=view.device),
                "exp_avg": torch.zeros_like(view),
                "exp_avg_sq": torch.zeros_like(view),
            }

    def step(self) -> None:
        """Take one step along the gradients, then drop them."""
        self._clip()
        for view, parameter, members in self._views:
            view.grad = None if parameter.grad is None else parameter.grad[members]
        for group in self._adamw.param_groups:
            recipe: Recipe = group["recipe"]
            group["lr"] = recipe.lr * rate_factor(self.done, self._steps, recipe.warmup)
        self._adamw.step()
        self.done += 1
        for view, parameter, _ in self._views:
            view.grad = parameter.grad = None

    def member_state(self, member: int) -> dict[str, Tensor]:
        """One member's moments, [1, ...] by parameter and "first" or "second"."""
        tensors = {}
        for view, parameter, members in self._views:
            if members.start <= member < members.stop:
                moments = self._adamw.state[view]
                own = slice(member - members.start, member - members.start + 1)
                name = self._names[id(parameter)]
                tensors[f"{name}.first"] = moments["exp_avg"][own]
                tensors[f"{name}.second"] = moments["exp_avg_sq"][own]
        return tensors

    def load_state(self, tensors: dict[str, Tensor], done: int) -> None:
        """Take up what `member_state` gave, all members stacked, after so many steps."""
        self.done = done
        for view, parameter, members in self._views:
            moments, name = self._adamw.state[view], self._names[id(parameter)]
            moments["step"].fill_(float(done))
            moments["exp_avg"].copy_(tensors[f"{name}.first"][members])
            moments["exp_avg_sq"].copy_(tensors[f"{name}.second"][members])

    def _clip(self) -> None:
        """Shorten the gradient of each member that is longer than its recipe allows."""
        if not any(recipe.clip_norm for recipe in self._recipes):
            return
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
        limits = norms.new_tensor([recipe.clip_norm or math.inf for recipe in self._recipes])
        # As torch.nn.utils.clip_grad_norm_.
        factors = (limits / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *(1,) * (gradient.ndim - 1)))


def _runs(recipes: Sequence[Recipe]) -> list[tuple[slice, Recipe]]:
    """Slices of neighbours with one recipe."""
    slices, start = [], 0
    for recipe, members in groupby(recipes):
        stop = start + len(list(members))
        slices.append((slice(start, stop), recipe))
        start = stop
    return slices
