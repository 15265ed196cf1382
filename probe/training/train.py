"""One loop, many probes, one pass: each batch is loaded once and feeds every bank."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from stepcli.probe.config import DataConfig, RunConfig
from stepcli.probe.data.features import Features
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tasks import Samples, Task
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.nn.bank import Probe
from stepcli.probe.training.augment import augmented
from stepcli.probe.training.bank_threads import Crew
from stepcli.probe.training.banks import Bank, make_banks
from stepcli.probe.training.checkpoint import Checkpoint
from stepcli.probe.training.deferred_signals import GRACE_SECONDS, Grace
from stepcli.probe.training.loss import Folds, Part
from stepcli.probe.training.memory import OutOfMemory, free_memory
from stepcli.probe.training.products import multiply_adds
from stepcli.probe.training.step_graphs import StepGraphs
from stepcli.runtime.device_copies import to_device

EVALUATION_BATCH = 256
"""Samples at once when nothing is kept for a backward pass; fewer where these do not fit."""


@dataclass(frozen=True, slots=True)
class EpochReport:
    """How a pass is going."""

    epoch: int
    """Epochs done."""
    epochs: int
    losses: Tensor
    """Mean training loss of each config, in order; NaN for what is not trained by steps."""

    @property
    def loss(self) -> float:
        """Mean over the probes in training."""
        return float(self.losses.nanmean())


Progress = Callable[[EpochReport], None]
"""Called after each epoch."""
Say = Callable[[str], None]
"""Takes a line for the user."""


@dataclass(frozen=True, slots=True)
class Trained:
    """One probe at the end of its training."""

    config: RunConfig
    probe: Probe
    """K = 1."""
    logits: Tensor
    """[test samples, C], float32, of its own fold where it holds one out; over several views, the
    logarithm of the mean probability."""
    losses: tuple[float, ...]
    """Mean training loss of each epoch; none where nothing was trained."""
    seconds: float
    """Its share of the training pass: by the work of its bank, then by members."""
    multiply_adds: int
    """Of its matrix products for the logits of one clip."""
    device: torch.device
    """Where it was trained; the probe and the logits are on the host."""
    shuffling: str = ""
    """How finely samples were shuffled where tokens were streamed; "" for all among each other."""


def train(
    features: Features,
    layout: TokenLayout,
    task: Task,
    configs: Sequence[RunConfig],
    progress: Progress,
    checkpoint: Checkpoint | None = None,
    say: Say = print,
) -> list[Trained]:
    """Train probes side by side and test each once, in the order of `configs`.

    With a checkpoint, training resumes from the last epoch that was kept, if any was; Ctrl-C and
    SIGTERM act after the epoch, and keep it, where that is soon. A bank whose step does not fit
    into memory is halved, and the step done again.

    Raises:
        ValueError: the configs do not share one pass over the data.
        OutOfMemory: the banks do not fit, or a single probe's step does not.
    """
    passes = {config.shared for config in configs}
    if len(passes) != 1:
        raise ValueError(f"one pass trains configs that share it, got {len(passes)} different ones")
    data = passes.pop()
    epochs = data.epochs_of(task.samples_per_epoch)
    steps = data.steps_of(task.samples_per_epoch)
    device = features.device
    banks = _begin(features, layout, task, configs, epochs * steps)
    fitted = [bank for bank in banks if not bank.probe.trained]
    trained = [bank for bank in banks if bank.probe.trained]
    done = 0 if checkpoint is None or not trained else checkpoint.restore(trained)

    def report(epoch: int) -> None:
        losses = torch.full((len(configs),), torch.nan)
        for bank in trained:
            losses[bank.places] = bank.losses[epoch - 1]
        progress(EpochReport(epoch, epochs, losses))

    for epoch in range(1, done + 1):
        report(epoch)
    # What the banks ask of a batch, as the batch before has shown.
    wanted: frozenset[str] = frozenset()
    with Crew(len(banks), device) as crew:
        with Grace() as grace, StepGraphs(trained, device, say) as graphs:
            for epoch in range(done, epochs if trained else 0):
                started = time.perf_counter()
                totals = torch.zeros(len(configs), device=device)
                samples = _epoch(features, task, data, epoch)
                batches = features.batches(task, samples, data.batch_size // data.accumulate)
                folds = _folds(task, samples, device)
                for step, parts in enumerate(_steps(batches, data, epoch, folds), 1):
                    if (held := graphs.hold(parts)) is None:
                        for batch, _ in parts:
                            batch.make(wanted)
                    take_step = partial(graphs.step, parts=parts, held=held)
                    size = sum(len(targets) for _, targets in parts)
                    trained = _step(trained, take_step, size, totals, crew, say)
                    graphs.remember(parts)
                    wanted = parts[0][0].made
                    left = (time.perf_counter() - started) * (steps / step - 1)
                    if grace.came and not _soon_kept(checkpoint, trained, left):
                        grace.end()
                totals = totals.cpu() / task.samples_per_epoch
                for bank in trained:
                    bank.clock.settle()
                    bank.losses.append(totals[bank.places])
                _share_clock(trained, time.perf_counter() - started)
                if checkpoint is not None and (epoch + 1 < epochs or grace.came):
                    checkpoint.save(trained, epoch + 1, now=grace.came)
                grace.end()
                report(epoch + 1)
        results = _finish(features, task, [*fitted, *trained], crew, say)
    return [results[place] for place in range(len(configs))]


def _begin(
    features: Features,
    layout: TokenLayout,
    task: Task,
    configs: Sequence[RunConfig],
    steps: int,
) -> list[Bank]:
    """The banks of a pass, those without gradients fitted.

    Raises:
        OutOfMemory: they do not fit.
    """
    cores = torch.get_num_threads() if features.device.type == "cpu" else 1
    each = task.fold_counts
    counts = torch.from_numpy(task.class_counts if each is None else each)
    try:
        banks = make_banks(
            configs, layout, steps, counts, features.device, cores, task.base_classes
        )
    except (RuntimeError, MemoryError) as error:
        raise OutOfMemory.of(error, f"{len(configs)} probes") from error
    data = configs[0].shared
    for bank in banks:
        if not bank.probe.trained:
            samples = _epoch(features, task, data, 0)
            if (of := task.folds_of(samples)) is not None:
                samples = samples[np.flatnonzero(of != bank.configs[0].task.fold)]
            bank.fit(features.batches(task, samples, data.batch_size))
    return banks


def _epoch(features: Features, task: Task, data: DataConfig, epoch: int) -> Samples:
    """The samples of an epoch, in the order that suits where the tokens are."""
    samples = task.epoch(data.data_seed, epoch)
    order = features.training_order(task, samples, (data.data_seed, epoch))
    return samples if order is None else samples[order]


def _soon_kept(checkpoint: Checkpoint | None, banks: Sequence[Bank], left: float) -> bool:
    """Whether an epoch that ends in `left` seconds can be waited for, and its state be kept."""
    return checkpoint is not None and left + checkpoint.cost(banks) <= GRACE_SECONDS


def _folds(task: Task, samples: Samples, device: torch.device) -> Folds | None:
    """Of an epoch's samples in order, where members hold out a fold."""
    of, shares = task.folds_of(samples), task.fold_shares
    if of is None or shares is None:
        return None
    share = torch.from_numpy(shares).float()
    return Folds(to_device(torch.from_numpy(of), device), to_device(share, device))


def _steps(
    batches: Iterator[tuple[TokenBatch, Tensor]], data: DataConfig, epoch: int, folds: Folds | None
) -> Iterator[list[Part]]:
    """The parts of each step: as many as are to be accumulated, the last step's maybe fewer."""
    parts: list[Part] = []
    shown = 0
    for number, (batch, labels) in enumerate(batches):
        batch.precision = getattr(torch, data.precision)
        mine = None
        if folds is not None:
            mine = replace(folds, of=folds.of[shown : shown + len(labels)])
        shown += len(labels)
        parts.append(augmented(batch, labels, data, (epoch, number), mine))
        if len(parts) == data.accumulate:
            yield parts
            parts = []
    if parts:
        yield parts


def _step(
    banks: Sequence[Bank],
    take_step: Callable[[Bank], Tensor],
    samples: int,
    totals: Tensor,
    crew: Crew,
    say: Say,
) -> list[Bank]:
    """One step of every bank; returns the banks, those that were too large in halves.

    Adds each member's loss, times the samples, to `totals` at its place.
    """
    outcomes = crew.each(partial(_try_step, take_step=take_step), banks, _cost)
    after: list[Bank] = []
    for bank, losses in zip(banks, outcomes, strict=True):
        if isinstance(losses, Tensor):
            totals.index_add_(0, bank.rows, losses * samples)
            after.append(bank)
            continue
        if len(bank.configs) == 1:
            raise losses
        say(f"out of memory in a step of {bank}: the bank is halved, and banks take turns")
        crew.alone()
        try:
            halves = bank.halves()
        except (RuntimeError, MemoryError) as error:
            raise OutOfMemory.of(error, f"the halves of {bank}") from error
        for half in halves:
            after += _step([half], take_step, samples, totals, crew, say)
    return after


def _try_step(bank: Bank, take_step: Callable[[Bank], Tensor]) -> Tensor | OutOfMemory:
    """One step, [K] losses; if memory runs out, nothing has changed."""
    try:
        return take_step(bank)
    except OutOfMemory as error:
        return error


def _cost(bank: Bank) -> float:
    return bank.work


def _share_clock(banks: Sequence[Bank], elapsed: float) -> None:
    """Charge what a stretch took, loading included, to the banks by the work they did in it."""
    work = sum(bank.clock.busy for bank in banks)
    for bank in banks:
        bank.seconds += elapsed * bank.clock.busy / work
        bank.clock.busy = 0.0


def _logits_of(
    features: Features, task: Task, banks: Sequence[Bank], crew: Crew, size: int
) -> list[Tensor] | OutOfMemory:
    """Each bank's logits of the test samples, a batch at a time, or why not."""
    parts: list[list[Tensor]] = [[] for _ in banks]
    order = features.reading_order(task, task.shown)
    shown = task.shown if order is None else task.shown[order]
    try:
        for batch, _ in features.batches(task, shown, size):
            logits_of = crew.each(partial(Bank.logits, batch=batch), banks, _cost)
            for logits, pieces in zip(logits_of, parts, strict=True):
                pieces.append(logits)
    except (RuntimeError, MemoryError) as error:
        return OutOfMemory.of(error, f"a test of {size} samples")
    found = [torch.cat(pieces, dim=1) for pieces in parts]
    return found if order is None else [logits[:, np.argsort(order)] for logits in found]


def _finish(
    features: Features, task: Task, banks: Sequence[Bank], crew: Crew, say: Say
) -> dict[int, Trained]:
    """Test every bank in one pass over the test samples; results by place.

    Raises:
        OutOfMemory: not even one sample at a time fits.
    """
    size = EVALUATION_BATCH
    while not isinstance(found := _logits_of(features, task, banks, crew, size), list):
        if size == 1:
            raise found
        size //= 2
        say(f"out of memory in the test: it is done again with {size} samples at once")
        free_memory(features.device)
    one_clip, _ = next(features.batches(task, task.shown[:1], 1))
    tested = task.folds_of(task.test)
    trained = {}
    for bank, shown in zip(banks, found, strict=True):
        logits = task.combine(shown)
        losses: list[list[float]] = [[] for _ in bank.configs]
        if bank.losses:
            losses = torch.stack(bank.losses, dim=1).tolist()
        products = multiply_adds(bank, one_clip)
        for index, (place, config) in enumerate(zip(bank.places, bank.configs, strict=True)):
            mine = logits[index]
            if tested is not None:
                mine = mine[torch.from_numpy(tested == config.task.fold)]
            trained[place] = Trained(
                config,
                bank.probe.member(index).cpu(),
                mine,
                tuple(losses[index]),
                bank.seconds / len(bank.configs),
                products,
                features.device,
                features.shuffling,
            )
    return trained
