"""How a trained probe's answers change when the stored frames are shown in another order.

Free from a cache: no video is touched. It holds only where a token depends on its own frame alone;
where it does not, a backward clip's tokens are not the forward clip's in reverse.

Reorderings show the same frames, so a probe that does not see order cannot change its answer.
Resamplings leave frames out: there it can.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stepcli.cache.schema.spec import StoreSpec
from stepcli.probe.data.features import Features
from stepcli.probe.data.tasks import Samples, Task
from stepcli.probe.data.tokens import SampleFacts, TokenBatch
from stepcli.probe.nn.bank import Probe
from stepcli.probe.runs.metrics import Floats, Ints, credit, named
from stepcli.runtime.errors import UsageError

BATCH = 128
EARLY_STEPS = 8
"""Maximum number of observed fractions."""

Order = Callable[[int, np.random.Generator], Ints]
"""Frames n -> the n positions that are shown, in order."""


def _warped(frames: int) -> Ints:
    """Time runs slowly at first and fast at the end: position n (i / n)^2, order kept."""
    steps = np.arange(frames)
    return np.rint((frames - 1) * (steps / max(1, frames - 1)) ** 2).astype(np.int64)


REORDERINGS: dict[str, Order] = {
    "reversed": lambda n, random: np.arange(n)[::-1],
    "shuffled": lambda n, random: random.permutation(n),
    "halves swapped": lambda n, random: np.roll(np.arange(n), n // 2),
}
RESAMPLINGS: dict[str, Order] = {
    "middle frame only": lambda n, random: np.full(n, n // 2),
    "first half only": lambda n, random: np.arange(n) * -(-n // 2) // n,
    "second half only": lambda n, random: n - 1 - (np.arange(n) * -(-n // 2) // n)[::-1],
    "time-warped": lambda n, random: _warped(n),
}
ORDERS = REORDERINGS | RESAMPLINGS
NORMAL = "as it is"


def require_frame_scope(spec: StoreSpec) -> None:
    """Refuse tokens that depend on other frames.

    Raises:
        UsageError: saying which extraction would do.
    """
    if spec.token_scope != "frame":
        raise UsageError(
            f"order tests show stored frames in another order, but these tokens depend on more "
            f"than their own frame (token_scope: {spec.token_scope}, backbone {spec.backbone}); "
            "extract with an image backbone, e.g. --backbone dinov2-base"
        )


@dataclass(frozen=True, slots=True)
class OrderResult:
    """One probe on the test samples, shown in one way; fractions of 1."""

    top1: float
    partner_top1: float | None
    """Accuracy with the partner's label as the truth: on reversed clips the accuracy on
    the backward action (retro zero-shot). Over samples whose class has a partner."""
    flips: float | None
    """Of the samples that are right as they are and have a partner: share now recognised as it."""
    changed: float
    """Share of all samples whose prediction is another one now."""
    moved: float
    """Largest change of a logit."""


class EarlyPoint(NamedTuple):
    """Accuracy when only the first frames of a sample have been seen."""

    observed: float
    """Share of the frames."""
    top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTests:
    """All order tests of one probe."""

    layer: int | None = None
    """The one stored layer that it reads; None: all, or the only one."""
    orders: dict[str, OrderResult]
    """By name; the first is the normal order."""
    early: tuple[EarlyPoint, ...] = ()
    """Empty where the method cannot leave frames out."""


def run_order_tests(
    probes: Sequence[Probe], features: Features, task: Task, *, seed: int = 0
) -> list[OrderTests]:
    """Show the test samples in every order to probes that were trained on one task.

    Args:
        probes: K = 1 each, on the features' device.
        features: Tokens of the task's test clips.
        task: What the probes were trained on.
        seed: Of the shuffling; each sample is shuffled in its own way.
    """
    steps = np.linspace(1, task.length, min(EARLY_STEPS, task.length)).round().astype(int)
    shown: list[str | int] = [NORMAL, *ORDERS, *np.unique(steps).tolist()]
    logits: dict[str | int, list[list[Tensor]]] = {way: [[] for _ in probes] for way in shown}
    needs_all: set[int] = set()
    random = np.random.default_rng(seed)
    for start in range(0, len(task.shown), BATCH):
        samples = _Shown(features, task, task.shown[start : start + BATCH])
        for way, pieces in logits.items():
            early = isinstance(way, int)
            batch = samples.first(way) if isinstance(way, int) else samples.ordered(way, random)
            for index, probe in enumerate(probes):
                if early and index in needs_all:
                    continue
                try:
                    with torch.no_grad():
                        pieces[index].append(probe(batch).float().cpu())
                except UsageError:
                    # A user's own module cannot know of frames that are not there yet.
                    if not early:
                        raise
                    needs_all.add(index)
    return [
        _results(
            {
                way: task.combine(torch.cat(pieces[index], dim=1))[0].numpy()
                for way, pieces in logits.items()
                if index not in needs_all or isinstance(way, str)
            },
            task,
        )
        for index in range(len(probes))
    ]


def _results(logits: dict[str | int, Floats], task: Task) -> OrderTests:
    """Of one probe's logits, by the order's name or the number of first frames."""
    truth, partner = task.test.label, _partners(task)
    orders = {
        way: _score(each, logits[NORMAL], truth, partner)
        for way, each in logits.items()
        if isinstance(way, str)
    }
    early = [
        EarlyPoint(way / task.length, _accuracy(each, truth))
        for way, each in logits.items()
        if isinstance(way, int)
    ]
    return OrderTests(layer=task.layer, orders=orders, early=tuple(early))


class _Shown:
    """A batch of samples, to be shown in several ways."""

    def __init__(self, features: Features, task: Task, samples: Samples) -> None:
        self.tokens = features.gather(task, samples)
        device = self.tokens.device
        mask = samples.mask(task.length)
        full = torch.ones(self.tokens.shape[:2], dtype=torch.bool, device=device)
        self.padded = mask is not None
        self.real = full if mask is None else torch.from_numpy(mask).to(device)
        self._features, self._task, self._samples = features, task, samples

    def _facts(self) -> SampleFacts:
        return self._features.facts.of(self._task, self._samples).to(self.tokens.device)

    def ordered(self, name: str, random: np.random.Generator) -> TokenBatch:
        """The frames in another order; padding stays at the end, and repeats the last of them."""
        rows = []
        for real in self.real.cpu().numpy():
            places = np.flatnonzero(real)
            row = np.arange(len(real))
            if name != NORMAL:
                row[places] = places[ORDERS[name](len(places), random)]
                row[len(places) :] = row[len(places) - 1]
            rows.append(row)
        index = torch.from_numpy(np.stack(rows)).to(self.tokens.device)
        batch = torch.arange(len(index), device=index.device)[:, None]
        return TokenBatch(
            self.tokens[batch, index],
            self.real if self.padded else None,
            facts=lambda: SampleFacts(self._facts().seconds.gather(1, index)),
        )

    def first(self, frames: int) -> TokenBatch:
        """The first frames; those after them are masked."""
        seen = self.real & (self.real.cumsum(dim=1) <= frames)
        mask = None if bool(seen.all()) else seen
        return TokenBatch(self.tokens, mask, facts=self._facts)


def _partners(task: Task) -> Ints:
    """[C]: index of each class's partner, -1 where it has none."""
    partner = np.full(len(task.classes), -1)
    for a, b in task.pairs:
        partner[a], partner[b] = b, a
    return partner


def _accuracy(logits: Floats, labels: Ints) -> float:
    return float(credit(logits, labels).mean())


def _score(logits: Floats, normal: Floats, labels: Ints, partner: Ints) -> OrderResult:
    predicted, before = named(logits), named(normal)
    theirs = partner[labels]
    paired = theirs >= 0
    to_partner = credit(logits[paired], theirs[paired])
    flippable = paired & (before == labels)
    return OrderResult(
        top1=_accuracy(logits, labels),
        partner_top1=float(to_partner.mean()) if paired.any() else None,
        flips=float((predicted == theirs)[flippable].mean()) if flippable.any() else None,
        changed=float((predicted != before).mean()),
        moved=float(np.abs(logits - normal).max()),
    )
