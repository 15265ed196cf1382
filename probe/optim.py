"""AdamW for K probes in one bank, each with a recipe of its own."""

import math
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from stepcli.probe.bank import Probe
from stepcli.probe.config import Recipe


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
        self._done = 0
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

    def step(self) -> None:
        """Take one step along the gradients, then drop them."""
        self._clip()
        for view, parameter, members in self._views:
            view.grad = None if parameter.grad is None else parameter.grad[members]
        for group in self._adamw.param_groups:
            recipe: Recipe = group["recipe"]
            group["lr"] = recipe.lr * rate_factor(self._done, self._steps, recipe.warmup)
        self._adamw.step()
        self._done += 1
        for view, parameter, _ in self._views:
            view.grad = parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Moments of every view that has had a gradient, and the steps done."""
        tensors = {"steps": torch.tensor(self._done)}
        for index, (view, _, _) in enumerate(self._views):
            if view in self._adamw.state:
                moments = self._adamw.state[view]
                tensors[f"{index}.first"] = moments["exp_avg"]
                tensors[f"{index}.second"] = moments["exp_avg_sq"]
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `state` gave."""
        self._done = int(tensors["steps"])
        for index, (view, _, _) in enumerate(self._views):
            if f"{index}.first" in tensors:
                self._adamw.state[view] = {
                    "step": torch.tensor(float(self._done), device=view.device),
                    "exp_avg": tensors[f"{index}.first"].to(view),
                    "exp_avg_sq": tensors[f"{index}.second"].to(view),
                }

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
