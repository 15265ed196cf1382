"""Random numbers of K members, each from a stream of its own: dropout at their own rates, and what
users' code draws.

What a member draws depends on its seed, the step and the place alone: so it draws the same in any
bank, and again when a killed sweep resumes.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Lock

import torch
from torch import Generator, Tensor
from torch.utils.hooks import RemovableHandle

from stepcli.runtime.device_copies import to_device, write_to_device

_MIX = 0x9E3779B97F4A7C15
"""Spreads neighbouring numbers over all seeds (Steele et al. 2014, SplitMix64)."""

Draws = dict[tuple[int, ...], Tensor]
"""What is kept, [K, *shape] bool, by shape."""


class MemberDropout:
    """Draws, for one place in a probe, what K members keep."""

    def __init__(self, rates: Sequence[float], seeds: Sequence[int], place: int) -> None:
        """Members' shares of dropped values, [K] in [0, 1), and their seeds, [K]."""
        self.rates = tuple(rates)
        self.seeds = tuple(seeds)
        self.place = place
        self.step = 0
        """To be counted by who trains; the draw is another at every step."""
        self.hook: RemovableHandle | None = None
        """How it is taken out of the module in front of which it acts."""
        self.keep_rate = 1 - torch.tensor(self.rates)
        """[K]"""
        self._shapes: set[tuple[int, ...]] = set()
        """Of the draws so far."""
        self._held: Draws | None = None
        self._used: Draws = {}

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        """What is kept, [K, *shape] bool."""
        if self._held is None:
            self._shapes.add(shape)
            return to_device(self._draw(shape), self.keep_rate.device)
        self._used[shape] = self._held[shape]
        return self._held[shape]

    def hold(self) -> None:
        """While a step is captured that was taken before: let it read what it keeps in memory that
        `refill` can write to.

        Memory that is taken in a capture cannot serve: work that was captured before may use it.
        """
        self._used, device = {}, self.keep_rate.device
        self._held = {
            shape: torch.empty((len(self.seeds), *shape), dtype=torch.bool, device=device)
            for shape in self._shapes
        }

    def release(self) -> Draws:
        """The capture has ended; gives what the captured step reads."""
        self._held = None
        return self._used

    def refill(self, held: Draws) -> None:
        """Draw what a captured step keeps when it is launched as step `step`."""
        for shape, kept in held.items():
            write_to_device(self._draw(shape), kept)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        """The same on the host."""
        return torch.stack(
            [
                self._member(rate, seed, shape)
                for rate, seed in zip(self.rates, self.seeds, strict=True)
            ]
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Zero a share of x [K, ...] ([...] is read by every member), the rest larger for it."""
        survivors = self.draw(tuple(x.shape[1:]))
        rate = self.keep_rate.view(-1, *(1,) * (x.ndim - 1))
        return x * survivors / rate

    def to(self, device: torch.device) -> "MemberDropout":
        """Use it on a device; the draws are made on the host, the same everywhere."""
        self.keep_rate = self.keep_rate.to(device)
        return self

    def _member(self, rate: float, seed: int, shape: tuple[int, ...]) -> Tensor:
        if rate == 0:
            return torch.ones(shape, dtype=torch.bool)
        generator = Generator().manual_seed(_stream(seed, self.step, self.place))
        return torch.rand(shape, generator=generator) >= rate


class GlobalDraws:
    """What members' own code draws from torch's one generator in training."""

    def __init__(self, seeds: Sequence[int]) -> None:
        """Of members with these seeds, [K]."""
        self._seeds = tuple(seeds)
        self._step = self._pass = 0

    def begin(self, step: int) -> None:
        """The forward passes that follow are of this step."""
        self._step, self._pass = step, 0

    def begin_pass(self) -> None:
        """Another part of the step's batch."""
        self._pass += 1

    def of(self, member: int, device: torch.device) -> AbstractContextManager[None]:
        """Draws of one member in this pass, on a device and on the host."""
        return seeded(_stream(self._seeds[member], self._step, self._pass), device)


_GLOBAL_GENERATOR = Lock()


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch's one generator begin at a seed, and be afterwards where it was before.

    One thread at a time: they share it.
    """
    devices = [device] if device.type == "cuda" else []
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=devices):
        # torch.manual_seed would look at the stack for every kind of device, at every step.
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _stream(seed: int, step: int, place: int) -> int:
    """The seed of a stream of random numbers."""
    return ((seed * 1_000_003 + step) * 31 + place) * _MIX % (1 << 63)
