"""One loop, many probes, one pass: each batch is loaded once and feeds every bank."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor
from torch.nn import functional

from stepcli.probe.bank import Probe, stack
from stepcli.probe.checkpoint import Checkpoint
from stepcli.probe.config import RunConfig
from stepcli.probe.crew import Crew
from stepcli.probe.data import Features
from stepcli.probe.optim import BankAdamW
from stepcli.probe.registry import methods, parse_options
from stepcli.probe.tasks import Task
from stepcli.probe.tokens import TokenBatch, TokenLayout

EVALUATION_BATCH = 256
"""Samples at once when nothing is kept for a backward pass."""

Progress = Callable[[float], None]
"""Called after each epoch with the mean training loss over all members."""


@dataclass(frozen=True, slots=True)
class Trained:
    """One probe at the end of its training."""

    config: RunConfig
    probe: Probe
    """K = 1."""
    logits: Tensor
    """[test samples, C], float32."""
    losses: tuple[float, ...]
    """Mean training loss of each epoch; none where nothing was trained."""
    seconds: float
    """Its share of the training pass: by the work of its bank, then by members."""


def build_probe(config: RunConfig, layout: TokenLayout, classes: int) -> Probe:
    """A probe of one member, initialised from its own seed."""
    info = methods().get(config.method)
    options = parse_options(info, config.options)
    return info.build(layout, classes, options, Generator().manual_seed(config.seed))


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: Tensor) -> Tensor:
    """Cross-entropy of each member, [K], against (1 - s) one-hot + s uniform (arXiv 1512.00567).

    Args:
        logits: [K, B, C].
        labels: [B].
        smoothing: s of each member, [K].
    """
    log_p = functional.log_softmax(logits, dim=-1)
    right = log_p.gather(2, labels.expand(len(logits), -1)[..., None])[..., 0].mean(dim=1)
    return -((1 - smoothing) * right + smoothing * log_p.mean(dim=(1, 2)))


class Bank:
    """K probes in training, with their optimiser and their share of the clock."""

    def __init__(self, configs: Sequence[RunConfig], probe: Probe, steps: int) -> None:
        recipes = [config.recipe for config in configs]
        self.configs = list(configs)
        self.probe = probe
        self.seconds = 0.0
        """Its share of the pass so far; the banks' shares add up to the time on the clock."""
        self.busy = 0.0
        """Seconds of steps that have not been shared out yet."""
        self.losses: list[Tensor] = []
        if probe.trained:
            self._optimizer = BankAdamW(probe, recipes, steps)
        device = next(probe.parameters()).device
        self._smoothing = torch.tensor([r.label_smoothing for r in recipes], device=device)

    def step(self, batch: TokenBatch, labels: Tensor) -> Tensor:
        """One training step; returns each member's loss, [K]."""
        started = time.perf_counter()
        losses = smoothed_cross_entropy(self.probe(batch), labels, self._smoothing)
        # Members share no parameter, so the gradient of the sum is each member's own.
        torch.autograd.backward(losses.sum())
        self._optimizer.step()
        self.busy += time.perf_counter() - started
        return losses.detach()

    def fit(self, batches: Iterable[tuple[TokenBatch, Tensor]]) -> None:
        """Fit a probe that has no gradients to follow."""
        started = time.perf_counter()
        self.probe.fit(batches)
        self.seconds += time.perf_counter() - started

    def state(self) -> dict[str, Tensor]:
        """Everything that training goes on from."""
        tensors = {f"probe.{name}": t for name, t in self.probe.state_dict().items()}
        tensors |= {f"optimizer.{name}": t for name, t in self._optimizer.state().items()}
        return tensors | {"losses": torch.stack(self.losses)}

    def load_state(self, tensors: dict[str, Tensor], seconds: float) -> None:
        """Take up what `state` gave."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}

        self.probe.load_state_dict(part("probe."))
        self._optimizer.load_state(part("optimizer."))
        self.losses = list(tensors["losses"])
        self.seconds = seconds

    @torch.no_grad()
    def logits(self, batch: TokenBatch) -> Tensor:
        """[K, B, C] on the host."""
        logits: Tensor = self.probe(batch)
        return logits.float().cpu()


def make_banks(
    configs: Sequence[RunConfig],
    layout: TokenLayout,
    classes: int,
    steps: int,
    device: torch.device,
) -> list[Bank]:
    """Stack configs whose probes stack; neighbours of one recipe stay neighbours."""
    built = [(config, build_probe(config, layout, classes)) for config in configs]
    alike: dict[tuple[object, ...], list[tuple[RunConfig, Probe]]] = {}
    for config, probe in built:
        alike.setdefault(probe.signature(), []).append((config, probe))
    banks = []
    for members in alike.values():
        members.sort(key=lambda member: member[0].recipe.model_dump_json())
        probe = stack([probe for _, probe in members]).to(device)
        banks.append(Bank([config for config, _ in members], probe, steps))
    return banks


def train(
    features: Features,
    layout: TokenLayout,
    task: Task,
    configs: Sequence[RunConfig],
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> list[Trained]:
    """Train probes side by side and test each once, in the order of `configs`.

    With a checkpoint, training goes on from the last epoch that was kept, if any was.

    Raises:
        ValueError: the configs do not share one pass over the data.
    """
    passes = {config.shared for config in configs}
    if len(passes) != 1:
        raise ValueError(f"one pass trains configs that share it, got {len(passes)} different ones")
    shared = passes.pop()
    per_epoch = -(-task.samples_per_epoch // shared.batch_size)
    device = features.device
    banks = make_banks(configs, layout, len(task.classes), shared.epochs * per_epoch, device)
    for bank in banks:
        if not bank.probe.trained:
            samples = task.epoch(shared.data_seed, 0)
            bank.fit(features.batches(task, samples, shared.batch_size))
    trained = [bank for bank in banks if bank.probe.trained]
    done = 0 if checkpoint is None or not trained else checkpoint.restore(trained)
    for _ in range(done):
        progress(float(torch.cat([bank.losses[-1] for bank in trained]).mean()))
    with Crew([bank.probe for bank in banks], device) as crew:
        for epoch in range(done, shared.epochs if trained else 0):
            started = time.perf_counter()
            totals = [torch.zeros(len(bank.configs), device=device) for bank in trained]
            samples = task.epoch(shared.data_seed, epoch)
            for batch, labels in features.batches(task, samples, shared.batch_size):
                losses = crew.each(partial(Bank.step, batch=batch, labels=labels), trained)
                for loss, total in zip(losses, totals, strict=True):
                    total += loss * len(labels)
            for bank, total in zip(trained, totals, strict=True):
                bank.losses.append(total.cpu() / task.samples_per_epoch)
            _share_clock(trained, time.perf_counter() - started)
            if checkpoint is not None and epoch + 1 < shared.epochs:
                checkpoint.save(trained, epoch + 1)
            progress(float(torch.cat([bank.losses[-1] for bank in trained]).mean()))
        results = _finish(features, task, banks, crew)
    return [results[id(config)] for config in configs]


def _share_clock(banks: Sequence[Bank], elapsed: float) -> None:
    """Charge what a stretch took, loading included, to the banks by the work they did in it."""
    work = sum(bank.busy for bank in banks)
    for bank in banks:
        bank.seconds += elapsed * bank.busy / work
        bank.busy = 0.0


def _finish(
    features: Features, task: Task, banks: Sequence[Bank], crew: Crew
) -> dict[int, Trained]:
    """Test every bank in one pass over the test samples."""
    parts: list[list[Tensor]] = [[] for _ in banks]
    for batch, _ in features.batches(task, task.test, EVALUATION_BATCH):
        logits_of = crew.each(partial(Bank.logits, batch=batch), banks)
        for logits, pieces in zip(logits_of, parts, strict=True):
            pieces.append(logits)
    trained = {}
    for bank, pieces in zip(banks, parts, strict=True):
        logits = torch.cat(pieces, dim=1)
        losses: list[list[float]] = [[] for _ in bank.configs]
        if bank.losses:
            losses = torch.stack(bank.losses, dim=1).tolist()
        for index, config in enumerate(bank.configs):
            trained[id(config)] = Trained(
                config,
                bank.probe.member(index).cpu(),
                logits[index],
                tuple(losses[index]),
                bank.seconds / len(bank.configs),
            )
    return trained
