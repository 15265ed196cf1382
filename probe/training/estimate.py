"""How long a pass will take, from a few real steps on random tokens."""

import time
from collections.abc import Sequence
from functools import partial

import torch

from stepcli.probe.config import RunConfig
from stepcli.probe.data.clip_metadata import ClipFacts
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tasks import Task
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.training.bank_threads import Crew
from stepcli.probe.training.banks import Bank, make_banks
from stepcli.probe.training.loss import Folds, Part, Targets
from stepcli.probe.training.plan import PassPlan, kind
from stepcli.probe.training.step_graphs import HeldParts, StepGraphs

MOST_MEMBERS = 8
"""Members of a kind that are timed; a larger bank is taken to cost in proportion."""
TIMED_STEPS = 2


def estimate_seconds(
    plan: PassPlan, layout: TokenLayout, task: Task, facts: ClipFacts, device: torch.device
) -> float:
    """Seconds of a pass's training steps; reading and testing are not in it.

    Builds every bank of the pass, of at most eight members each, and steps them as training does.
    """
    if not plan.epochs:
        return 0.0
    sample, factors = _sample(plan.configs)
    # The first step warms allocators up; on a GPU the second is captured.
    warm_up = 2 if device.type == "cuda" else 1
    taken = warm_up + TIMED_STEPS
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    each = task.fold_counts
    counts = torch.from_numpy(task.class_counts if each is None else each)
    banks = [
        bank
        for bank in make_banks(sample, layout, max(plan.steps, taken), counts, device, cores)
        if bank.probe.trained
    ]
    data = plan.configs[0].shared
    clips = min(data.batch_size, task.samples_per_epoch)
    size = (clips, task.length, len(layout.layers), layout.tokens, layout.dim)
    tokens = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(device)
    samples = task.epoch(0, 0)[:clips]
    none = torch.zeros(clips, dtype=torch.long, device=device)
    folds = None if each is None else Folds(none, torch.ones(len(each), device=device))
    targets = Targets(none, folds=folds)
    busy: dict[int, float] = {}

    def step(bank: Bank, graphs: StepGraphs, parts: Sequence[Part], held: HeldParts | None) -> None:
        started = time.perf_counter()
        graphs.step(bank, parts, held)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        busy[id(bank)] = busy.get(id(bank), 0.0) + time.perf_counter() - started

    with Crew(len(banks), device) as crew, StepGraphs(banks, device, lambda _: None) as graphs:
        wall = 0.0
        for number in range(taken):
            batch = TokenBatch(tokens, facts=lambda: facts.of(task, samples).to(device))
            batch.precision = getattr(torch, data.precision)
            parts = [(batch, targets)]
            held = graphs.hold(parts)
            if number == warm_up:
                busy.clear()
                wall = time.perf_counter()
            take_step = partial(step, graphs=graphs, parts=parts, held=held)
            crew.each(take_step, banks, lambda bank: bank.work)
            graphs.remember(parts)
        wall = time.perf_counter() - wall
    whole = sum(busy[id(bank)] * factors[kind(bank.configs[0])] for bank in banks)
    return wall * whole / sum(busy.values()) / TIMED_STEPS * plan.steps


def _sample(configs: Sequence[RunConfig]) -> tuple[list[RunConfig], dict[str, float]]:
    """A limited number of configs of each kind, and how many times as many there are."""
    kinds: dict[str, list[RunConfig]] = {}
    for config in configs:
        kinds.setdefault(kind(config), []).append(config)
    sample = [config for members in kinds.values() for config in members[:MOST_MEMBERS]]
    factors = {name: len(m) / min(len(m), MOST_MEMBERS) for name, m in kinds.items()}
    return sample, factors
