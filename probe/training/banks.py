"""Banks in training: K probes of one method with their recipes, optimiser, losses and clock."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from stepcli.probe.config import RunConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.catalogue import built_in
from stepcli.probe.methods.custom_module import OwnProbe
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.nn.bank import Probe, stack
from stepcli.probe.nn.dropout import Draws, GlobalDraws, MemberDropout
from stepcli.probe.training.bank_clock import BankClock
from stepcli.probe.training.dropout_places import place_dropouts, remove_dropouts
from stepcli.probe.training.loss import MemberLoss, Part, Targets
from stepcli.probe.training.memory import OutOfMemory, free_memory
from stepcli.probe.training.optim import BankAdamW

FEWEST_MEMBERS = 4
"""A bank is not split into parts of fewer members than this for the sake of more cores ..."""
LARGE_PROBE = 4_000_000
"""... unless each has enough parameters that its own weights take longer than the tokens."""
LARGE_SHARE = 0.05
"""Of the parameters of a pass: banks that hold more are worth a part for every core."""
OURS = ("stepcli.probe.", "torch.nn.")
"""Beginnings of the names of modules whose classes launch the same work in every step."""


def build_probe(config: RunConfig, layout: TokenLayout, classes: int) -> Probe:
    """A probe of one member, initialised from its own seed."""
    info = methods().get(config.method)
    options = parse_options(info, config.options)
    return info.build(layout, classes, options, Generator().manual_seed(config.seed))


def _repeats(probe: Probe, configs: Sequence[RunConfig]) -> bool:
    """Whether no user's code takes part in a step: what that does is not known.

    A built-in method may have another's probe within it.
    """
    ours = all(type(module).__module__.startswith(OURS) for module in probe.modules())
    return ours and all(config.method in built_in() for config in configs)


@dataclass(frozen=True, slots=True)
class CapturedStep:
    """A step of a bank as one launch."""

    graph: torch.cuda.CUDAGraph
    losses: Tensor
    """[K], written by each launch."""
    draws: list[Draws]
    """Of each dropout, to be filled before a launch."""


class Bank:
    """K probes in training."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        places: Sequence[int],
        probe: Probe,
        steps: int,
        class_counts: Tensor,
        trained_classes: int | None = None,
    ) -> None:
        """Train `probe` for `steps` steps.

        Args:
            configs: Of its members, [K].
            places: Of its members among all configs of the pass, [K].
            probe: The members, stacked.
            steps: Of the whole training.
            class_counts: Training samples of each class, [C]; where members train on all folds
                but one, outside of each fold, [folds, C].
            trained_classes: Train on the first classes only, among themselves; None: on all.

        Raises:
            UsageError: a recipe asks for a dropout that the method has no place for.
        """
        recipes = [config.recipe for config in configs]
        self.configs = list(configs)
        self.places = list(places)
        self.probe = probe
        self.rows = torch.tensor(places, device=next(iter(probe.state_dict().values())).device)
        """`places` on the device, as an index of what it adds to."""
        self.steps = steps
        self.seconds = 0.0
        """Its share of the pass so far; the banks' shares add up to the time on the clock."""
        self.clock = BankClock(self.rows.device)
        """Of steps that have not been shared out yet."""
        self.losses: list[Tensor] = []
        self.repeats = _repeats(probe, configs)
        """Whether every step launches the same work, so that a graph of one serves for all."""
        self._running = [
            (module, name) for module in probe.modules() for name in getattr(module, "running", ())
        ]
        self._class_counts = class_counts
        self._folds: Tensor | None = None
        self._trained_classes = trained_classes
        self._dropouts: list[MemberDropout] = []
        if probe.trained:
            self._optimizer = BankAdamW(probe, recipes, steps)
            device = next(probe.parameters()).device
            counts = class_counts
            if class_counts.ndim == 2:
                folds = torch.tensor([config.task.fold for config in configs])
                counts = class_counts[folds]
                self._folds = folds.to(device)
            self._loss = MemberLoss(recipes, counts[..., :trained_classes], device)
            self._dropouts = place_dropouts(probe, configs, device)
            if isinstance(probe, OwnProbe):
                probe.draws = GlobalDraws([config.seed for config in configs])

    def __str__(self) -> str:
        """Its members, for messages: "64 x step"."""
        return f"{len(self.configs)} x {self.configs[0].method}"

    @property
    def work(self) -> float:
        """How long a step takes, compared with other banks: as seen so far, else by its size."""
        seen = self.seconds + self.clock.busy
        return seen or float(self.probe.members * self.probe.parameters_each)

    def step(self, parts: Sequence[Part]) -> Tensor:
        """Step along the gradients of a batch; returns the losses [K], means over its samples.

        Raises:
            OutOfMemory: the gradients do not fit; nothing has changed.
        """
        running = [getattr(module, name).clone() for module, name in self._running]
        failed = None
        with self.clock.work():
            try:
                losses = self._gradients(parts)
            except (RuntimeError, MemoryError) as error:
                self.probe.zero_grad(set_to_none=True)
                for (module, name), before in zip(self._running, running, strict=True):
                    getattr(module, name).copy_(before)
                failed = OutOfMemory.of(error, f"a step of {self.configs[0].method}")
            if failed is not None:
                raise failed  # here, where it does not keep what the error has held
            self._optimizer.step()
        return losses

    def capture(
        self, recording: AbstractContextManager[torch.cuda.CUDAGraph], parts: Sequence[Part]
    ) -> "CapturedStep":
        """The step as what it launches, to be launched later; nothing is done yet.

        Args:
            recording: Records instead of launching, into the graph that it gives.
            parts: Of a batch of which another with the same shapes was stepped before.
        """
        done = self._optimizer.done
        for dropout in self._dropouts:
            dropout.hold()
        try:
            with recording as graph:
                losses = self._gradients(parts)
                self._optimizer.step()
        finally:
            self._optimizer.done = done
            self.probe.zero_grad(set_to_none=True)
            draws = [dropout.release() for dropout in self._dropouts]
        return CapturedStep(graph, losses, draws)

    def launch(self, captured: "CapturedStep") -> Tensor:
        """The captured step, of what is now where it reads its batch; returns the losses [K]."""
        with self.clock.work():
            for dropout, held in zip(self._dropouts, captured.draws, strict=True):
                dropout.step = self._optimizer.done
                dropout.refill(held)
            captured.graph.replay()
        self._optimizer.done += 1
        return captured.losses

    def _gradients(self, parts: Sequence[Part]) -> Tensor:
        """Add the gradients of a batch in parts; losses [K]."""
        self.probe.train()
        for dropout in self._dropouts:
            dropout.step = self._optimizer.done
        if isinstance(self.probe, OwnProbe) and self.probe.draws is not None:
            self.probe.draws.begin(self._optimizer.done)
        samples = sum(len(targets) for _, targets in parts)
        losses = []
        for batch, targets in parts:
            weight = len(targets) / samples
            logits, extra = self.probe.training_logits(batch)
            mine = self._losses(logits[..., : self._trained_classes], extra, targets)
            # Members share no parameter, so the gradient of the sum is each member's own.
            torch.autograd.backward(mine.sum() * weight)
            losses.append(mine.detach() * weight)
        return torch.stack(losses).sum(0)

    def _losses(self, logits: Tensor, extra: Tensor | None, targets: Targets) -> Tensor:
        """[K]: mean over the samples; of a member that leaves out a fold, over those outside it."""
        if self._folds is None:
            losses = self._loss(logits, targets)
            return losses if extra is None else losses + extra.mean(dim=1)
        if targets.folds is None:
            raise ValueError("members that hold out a fold need the samples' folds")
        each = self._loss.each(logits, targets)
        each = each if extra is None else each + extra
        return (each * targets.folds.weights(self._folds)).mean(dim=1)

    def fit(self, batches: Iterable[tuple[TokenBatch, Tensor]]) -> None:
        """Fit a probe that has no gradients to follow."""
        started = time.perf_counter()
        self.probe.fit(batches)
        self.seconds += time.perf_counter() - started

    @property
    def state_bytes(self) -> int:
        """Of the values and AdamW's two moments, all members."""
        return 3 * sum(p.nbytes for p in self.probe.parameters())

    def member_state(self, member: int) -> dict[str, Tensor]:
        """The state from which one member's training resumes."""
        index = slice(member, member + 1)
        tensors = {f"probe.{name}": t[index] for name, t in self.probe.state_dict().items()}
        tensors |= {f"adam.{k}": t for k, t in self._optimizer.member_state(member).items()}
        losses = [loss[member] for loss in self.losses]
        tensors["steps"] = torch.tensor([self._optimizer.done])
        return tensors | {"losses": torch.stack(losses)[None] if losses else torch.empty(1, 0)}

    def load_members(self, states: Sequence[dict[str, Tensor]], seconds: float) -> None:
        """Take up what `member_state` gave, for every member."""
        stacked = {name: torch.cat([state[name] for state in states]) for name in states[0]}

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): t for k, t in stacked.items() if k.startswith(prefix)}

        self.probe.load_state_dict(part("probe."))
        self._optimizer.load_state(part("adam."), int(stacked["steps"][0]))
        self.losses = list(stacked["losses"].T)
        self.seconds = seconds

    def halves(self) -> list["Bank"]:
        """Two banks that go on where this one is; this one is used up.

        By way of the host: on a GPU the halves get the memory that this one had.
        """
        device, busy = self.rows.device, self.clock.busy
        remove_dropouts(self.probe, self._dropouts)
        self.probe.cpu()
        states = [
            {name: tensor.cpu() for name, tensor in self.member_state(member).items()}
            for member in range(len(self.configs))
        ]
        del self._optimizer
        free_memory(device)
        middle = len(self.configs) // 2
        banks = []
        for members in (slice(0, middle), slice(middle, None)):
            mine = states[members]
            probe = stack([self.probe.member(i) for i in range(len(states))[members]]).to(device)
            bank = Bank(
                self.configs[members],
                self.places[members],
                probe,
                self.steps,
                self._class_counts,
                self._trained_classes,
            )
            bank.load_members(mine, self.seconds * len(mine) / len(states))
            bank.clock.busy = busy * len(mine) / len(states)
            banks.append(bank)
        return banks

    @torch.no_grad()
    def logits(self, batch: TokenBatch) -> Tensor:
        """[K, B, C] on the host."""
        self.probe.eval()
        logits: Tensor = self.probe(batch)
        return logits.float().cpu()


def make_banks(
    configs: Sequence[RunConfig],
    layout: TokenLayout,
    steps: int,
    class_counts: Tensor,
    device: torch.device,
    cores: int,
    trained_classes: int | None = None,
) -> list[Bank]:
    """Stack configs whose probes stack; neighbours of one recipe stay neighbours.

    Large banks are made in parts, one per core: a core that works on a part of its own waits for no
    other before the step is done, and none idles while another has the largest bank to itself.
    """
    alike: dict[tuple[object, ...], list[tuple[int, RunConfig, Probe]]] = {}
    build = partial(build_probe, layout=layout, classes=class_counts.shape[-1])
    # Most of it is drawing initial values, each probe's from a generator of its own.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        built = list(pool.map(build, configs))
    for place, (config, probe) in enumerate(zip(configs, built, strict=True)):
        # What is fitted reads its samples by itself, so all members must have the same ones.
        own = None if probe.trained else config.task.fold
        alike.setdefault((probe.signature(), own), []).append((place, config, probe))
    weights = [sum(probe.parameters_each for *_, probe in members) for members in alike.values()]
    parts = []
    for members, weight in zip(alike.values(), weights, strict=True):
        members.sort(key=lambda member: member[1].recipe.model_dump_json())
        count = 1
        if members[0][2].trained:
            wanted = cores if weight > LARGE_SHARE * sum(weights) else cores // len(alike)
            fewest = 1 if weight >= LARGE_PROBE * len(members) else FEWEST_MEMBERS
            count = max(1, min(wanted, len(members) // fewest))
        size = -(-len(members) // count)
        parts += [members[start : start + size] for start in range(0, len(members), size)]
    banks = []
    for members in parts:
        places, each, probes = zip(*members, strict=True)
        probe = stack(probes).to(device)
        banks.append(Bank(each, places, probe, steps, class_counts, trained_classes))
    return banks
