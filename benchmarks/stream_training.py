"""Training tokens larger than memory, streamed in blocks beside random reads, with a cold cache.

    python benchmarks/stream_training.py                     # 1.5 GB of disk, some minutes
    python benchmarks/stream_training.py --quick
    python benchmarks/stream_training.py --accuracy STORE    # what shuffling in blocks costs

Every figure is a median over interleaved rounds, as a ratio to reading the same files from front to
back with a cold cache in the same round (pages are dropped by posix_fadvise before each). Nothing
is computed with the tokens: a loop that only takes each batch's sum shows what reading allows.

With --accuracy, probes are trained on the tokens of a store once fully shuffled and once in the
smallest blocks there are, with equal seeds; printed are means and the 95 % interval of the paired
differences over seeds (Student's t).
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev
from threading import local

import numpy as np
import torch
from store_clips import PRODUCER, Size, interleaved, record

from stepcli.cache import create_store, open_store
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, RunConfig, TaskConfig
from stepcli.probe.data.block_order import Blocks
from stepcli.probe.data.features import Features, Resident, task_layout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.streamed import Streamed
from stepcli.probe.data.tasks import Task
from stepcli.probe.runs.student import quantile
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.training.train import train

TARGET = 0.8
BATCH = 64
PIECE = 4 << 20
THREADS = (2, 8)
"""Of the sequential reader; the faster one of a round counts."""
CPU = torch.device("cpu")
SMALL = (Blocks(4, 2), Blocks(4, 8))
"""Far fewer clips at a time than any real store has: 8, and 32."""


def fill(path: Path, size: Size, part_clips: int) -> Store:
    """Random clips, almost all for training, stored class by class as most data sets are listed."""
    store = create_store(path, size.spec(), dataset="benchmark", format="zarr")
    random = np.random.default_rng(0)
    pool = random.standard_normal((16, *size.shape), np.float32)
    with store.writer(PRODUCER, part_clips=part_clips, part_seconds=1e9) as writer:
        for number in range(size.clips):
            writer.add(record(number, size.frames), pool[number % 16] * (1 + number % 7))
    ids = [f"{number:08d}" for number in range(size.clips)]
    store.add_clips(
        ClipRow(clip, str(20 * number // size.clips), "test" if number % 50 == 0 else "train")
        for number, clip in enumerate(ids)
    )
    store.refresh()
    return store


def token_files(store: Store) -> list[Path]:
    """The files of the parts with the tokens, in order."""
    found = Path(str(store.path)).glob("parts/*/tokens.zarr/tokens/c*")
    return sorted(path for path in found if path.is_file())


def drop_cache(files: list[Path]) -> None:
    """Make the kernel forget the files' pages."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sequential(files: list[Path], threads: int) -> float:
    """Bytes per second of reading the files from front to back, `threads` requests under way."""
    start = time.perf_counter()
    with ExitStack() as stack:
        opened = [stack.enter_context(path.open("rb")) for path in files]
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        sizes = [os.fstat(file.fileno()).st_size for file in opened]
        pieces = [
            (file.fileno(), at)
            for file, size in zip(opened, sizes, strict=True)
            for at in range(0, size, PIECE)
        ]
        buffers = local()

        def read(piece: tuple[int, int]) -> int:
            if not hasattr(buffers, "own"):
                buffers.own = bytearray(PIECE)
            return os.preadv(piece[0], [buffers.own], piece[1])

        total = sum(pool.map(read, pieces))
    if total != sum(sizes):
        raise SystemExit(f"read {total} bytes of {sum(sizes)}")
    return total / (time.perf_counter() - start)


def streamed(store: Store, task: Task, way: str, round_: int) -> float:
    """Bytes per second of an epoch's tokens: in blocks; fully shuffled, a group read at once; the
    same one batch at a time, with the next one ahead."""
    features = Streamed(store, CPU)
    samples = task.epoch(0, round_)
    if way == "blocks":
        order = features.training_order(task, samples, (0, round_))
        samples = samples if order is None else samples[order]
    if way == "random reads, grouped":
        features.blocks = Blocks(1, features.blocks.group_clips)
    if way == "random reads by batch":
        features.blocks = Blocks(1, 1)
    start, total = time.perf_counter(), 0
    for batch, _ in features.batches(task, samples, BATCH):
        total += batch.raw.nbytes
        batch.raw.view(-1)[::4096].float().sum()
    return total / (time.perf_counter() - start)


def bench_reading(title: str, size: Size, part_clips: int, rounds: int, folder: Path) -> None:
    """Ratios to the disk's sequential rate."""
    store = fill(folder / "store", size, part_clips)
    task = make_task(TaskConfig(), store, labelled_clips(store, "train", "test"))
    files = token_files(store)
    ways = ("blocks", "random reads, grouped", "random reads by batch")

    def front_to_back(_: int) -> float:
        rates = []
        for threads in THREADS:
            drop_cache(files)
            rates.append(sequential(files, threads))
        return max(rates)

    def cold(way: str, round_: int) -> float:
        drop_cache(files)
        return streamed(store, task, way, round_)

    candidates: dict[str, Callable[[int], float]] = {
        "sequential": front_to_back,
        **{way: partial(cold, way) for way in ways},
    }
    found = interleaved(candidates, rounds)
    gigabytes = size.clips * size.clip_bytes / 1e9
    print(f"\n{title}: {size.clips} clips of {size.clip_bytes / 1e3:.0f} KB, {gigabytes:.1f} GB")
    print(f"  {Streamed(store, CPU).shuffling}; batches of {BATCH}")
    base = found["sequential"][1]
    for way, (rate, rates) in found.items():
        ratios = [mine / theirs for mine, theirs in zip(rates, base, strict=True)]
        line = f"  {way:<24} {rate / 1e6:8.0f} MB/s   {median(ratios):.2f} of sequential"
        line += f" ({min(ratios):.2f} to {max(ratios):.2f})"
        if way == "blocks":
            line += f"   target {TARGET}: {'met' if median(ratios) >= TARGET else 'MISSED'}"
        print(line, flush=True)


def accuracies(
    features: Features, store: Store, task: Task, configs: list[RunConfig]
) -> list[float]:
    """Top-1 in percent of each config's probe."""
    found = train(features, task_layout(store, task), task, configs, lambda report: None)
    right = [each.logits.argmax(-1).numpy() == task.test.label for each in found]
    return [100 * float(each.mean()) for each in right]


def bench_accuracy(path: Path, methods: list[str], seeds: int) -> None:
    """Means, and paired differences over seeds of initial values and order."""
    store = open_store(path)
    for name, config in (("classify", TaskConfig()), ("arrow", TaskConfig(name="arrow"))):
        task = make_task(config, store, labelled_clips(store, "train", "test"))
        print(f"\n{name}: {task.train_clips} training clips, {len(task.test)} test samples")
        found: dict[str, list[list[float]]] = {"full": [], **{str(b): [] for b in SMALL}}
        for seed in range(seeds):
            data = DataConfig(data_seed=seed, batch_size=16)
            configs = [
                each
                for method in methods
                for each in run_configs(method, [{}], {}, config, data, range(seed, seed + 1))
            ]
            places = [
                Resident(store, task.clips, CPU, CPU),
                *(Streamed(store, CPU, b) for b in SMALL),
            ]
            for way, features in zip(found, places, strict=True):
                found[way].append(accuracies(features, store, task, configs))
        for place, method in enumerate(methods):
            full = [each[place] for each in found["full"]]
            print(f"  {method}: fully shuffled {mean(full):.1f} %, {seeds} seeds")
            for way in map(str, SMALL):
                differences = [
                    each[place] - one for each, one in zip(found[way], full, strict=True)
                ]
                half = quantile(0.95, seeds - 1) * stdev(differences) / seeds**0.5
                middle = mean(differences)
                print(
                    f"    {way}: {middle:+.1f} points [{middle - half:+.1f}, {middle + half:+.1f}]",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's")
    parser.add_argument("--accuracy", type=Path, metavar="STORE")
    parser.add_argument("--methods", nargs="+", default=["step", "linear"])
    parser.add_argument("--seeds", type=int, default=10)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.accuracy is not None:
        bench_accuracy(chosen.accuracy, chosen.methods, chosen.seeds)
        return
    share = 10 if chosen.quick else 1
    sizes = {
        "cls,grid4 of DINOv2-base": (Size(3600 // share, 16, 17, 768), 1200 // share),
        "CLS of DINOv2-small": (Size(90_000 // share, 16, 1, 384), 30_000 // share),
    }
    for title, (size, part_clips) in sizes.items():
        with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
            bench_reading(title, size, part_clips, chosen.rounds, Path(name))


if __name__ == "__main__":
    main()
