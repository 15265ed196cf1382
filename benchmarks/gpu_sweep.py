"""A sweep of 160 runs on resident tokens, beside one run of each of its methods alone.

    python benchmarks/gpu_sweep.py                        # on the first GPU
    python benchmarks/gpu_sweep.py --device cpu --tiny    # does it run at all?

4 methods, 8 learning rates, 5 seeds, in one process: reading the tokens, training, testing and
writing the runs included. Tokens are random, labels too: nothing is to be learned, time alone is
measured. The runs one by one are not all trained: one of each method is timed, after a first one
that is not, and multiplied.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from store_clips import PRODUCER, Size, random_tokens, record

from stepcli.cache import create_store
from stepcli.cache.schema.clips import ClassRow, ClipRow
from stepcli.probe.config import DataConfig, RunConfig, TaskConfig
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.session import Session

METHODS = ("linear", "attentive", "step", "gru")
RATES = [1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3]
SEEDS = 5
CLASSES = 16


def make_store(place: Path, size: Size) -> Path:
    """Random tokens of clips, two thirds of them for training."""
    store = create_store(place, size.spec(), dataset="benchmark")
    store.add_classes([ClassRow(f"class {number}", number) for number in range(CLASSES)])
    store.add_clips(
        ClipRow(
            record(number, size.frames).id,
            f"class {number % CLASSES}",
            "test" if number // CLASSES % 3 == 0 else "train",
        )
        for number in range(size.clips)
    )
    with store.writer(PRODUCER) as writer:
        for number, tokens in enumerate(random_tokens(size)):
            writer.add(record(number, size.frames), tokens)
    return place


def timed(store: Path, device: str, configs: list[RunConfig]) -> float:
    """Seconds of a session that trains and writes runs, tokens read anew."""
    with tempfile.TemporaryDirectory() as runs:
        started = time.perf_counter()
        Session(store, Path(runs), device).run(configs)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes, to see that it runs")
    given = parser.parse_args()
    size = Size(96, 4, 5, 32) if given.tiny else Size(1536, 8, 50, 384)
    rates, seeds = (RATES[:2], 1) if given.tiny else (RATES, SEEDS)
    data = DataConfig(epochs=2 if given.tiny else 20, batch_size=32)
    every: dict[str, list[RunConfig]] = {
        method: run_configs(
            method, [{"lr": rate} for rate in rates], {}, TaskConfig(), data, range(seeds)
        )
        for method in METHODS
    }
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", size)
        timed(store, given.device, every["linear"][:1])  # loads kernels and libraries
        alone = 0.0
        for method, configs in every.items():
            seconds = timed(store, given.device, configs[:1])
            alone += seconds * len(configs)
            print(f"one run of {method}: {seconds:.2f} s", flush=True)
        configs = [config for mine in every.values() for config in mine]
        together = timed(store, given.device, configs)
    print(
        f"sweep of {len(configs)} runs on {size.clips} resident clips: {together:.1f} s; one by "
        f"one {alone:.1f} s (from one run of each method): {alone / together:.1f} times less",
        flush=True,
    )


if __name__ == "__main__":
    main()
