"""Clips that the store's benchmarks write and read, and tables of what they took."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from stepcli.cache import create_store
from stepcli.cache.schema.clips import ClipRecord
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import Producer, Segment, StoreSpec
from stepcli.cache.store.store import Store

PRODUCER = Producer(source="benchmark", device="cpu", numerics="none", versions={})
FORMATS: tuple[Format, ...] = ("zarr", "hdf5")


@dataclass(frozen=True)
class Size:
    """Clips of one benchmark: [clips, frames, tokens, dim] float16."""

    clips: int
    frames: int
    tokens: int
    dim: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.frames, self.tokens, self.dim)

    @property
    def clip_bytes(self) -> int:
        return 2 * self.frames * self.tokens * self.dim

    def spec(self) -> StoreSpec:
        return StoreSpec(
            backbone="benchmark",
            weights_digest="0" * 64,
            segments=(Segment(name="prefix", kind="prefix", count=self.tokens),),
            dim=self.dim,
            frames=self.frames,
            sampling="uniform",
            preprocessing={},
            dtype="float16",
        )


def record(number: int, frames: int) -> ClipRecord:
    times = tuple(float(frame) for frame in range(frames))
    return ClipRecord(f"{number:08d}", f"{number}.webm", times, frames, 240, 320)


def random_tokens(size: Size) -> np.ndarray:
    """[clips, frames, tokens, dim] float16, normal."""
    tokens = np.random.default_rng(0).standard_normal((size.clips, *size.shape), np.float32)
    return tokens.astype(np.float16)


def fill(path: Path, form: Format, tokens: np.ndarray, size: Size) -> Store:
    """A store of one full part, as almost all are in a long extraction."""
    store = create_store(path, size.spec(), dataset="benchmark", format=form)
    with store.writer(
        PRODUCER, part_clips=len(tokens), part_bytes=1 << 40, part_seconds=1e9
    ) as writer:
        for number, clip in enumerate(tokens):
            writer.add(record(number, size.frames), clip)
    store.refresh()
    return store


def interleaved(
    candidates: dict[str, Callable[[int], float]], runs: int
) -> dict[str, tuple[float, list[float]]]:
    """Run all candidates once, then all again; by name the median and all values.

    A candidate takes the number of the run and returns seconds. The first run only warms.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for run in range(runs + 1):
        for name, candidate in candidates.items():
            spent = candidate(run)
            if run:
                seconds[name].append(spent)
    return {name: (median(values), values) for name, values in seconds.items()}


def show(
    title: str,
    seconds: dict[str, tuple[float, list[float]]],
    target: float,
    unit: float,
    name: str,
) -> None:
    """Ratios to the first candidate, of medians and round by round; for stepcli whether the
    target is met."""
    reference, rounds = next(iter(seconds.values()))
    print(f"\n{title}")
    for candidate, (value, values) in seconds.items():
        ratio = reference / value
        spread = f"{min(values) * unit:.2f} to {max(values) * unit:.2f}"
        ratios = [one / other for one, other in zip(rounds, values, strict=True)]
        line = f"  {candidate:<34} {ratio:6.2f} of the first   {value * unit:.2f} {name} ({spread})"
        line += f", by round {min(ratios):.2f} to {max(ratios):.2f}"
        if candidate in ("stepcli zarr", "stepcli hdf5") and target:
            line += f"   target {target:.2f}: {'met' if ratio >= target else 'MISSED'}"
        print(line, flush=True)


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
