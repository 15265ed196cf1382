"""What one training step of a probe costs: textbook attention, CLS-only, folded, and in a bank.

    python benchmarks/probes.py                  # both sizes, about five minutes on two cores
    python benchmarks/probes.py --dim 384        # T=8, P=257, D=384 alone
    python benchmarks/probes.py --dim 768        # T=16, P=257, D=768 alone

Every side gets the same batch of tokens, float32, and does forward, backward and AdamW, as when it
is trained. All sides are timed in turn within each repeat, so that load on the machine meets them
alike, and each at every thread count; its best median counts. Ratios are what to quote, the
milliseconds are this machine's. The bank is timed beside the four matrix products that it cannot
do without, of the same shapes, on the same machine in the same minute; at 8 clips per step, where
the optimiser's traffic weighs most, and at 32, half of what `stepcli sweep` takes by default.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

# Spinning OpenMP threads steal the cores that the next side needs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Generator, Tensor, nn

from stepcli.cache.schema.clips import ClipRecord
from stepcli.cache.schema.spec import Producer, Segment, StoreSpec
from stepcli.cache.store.store import create_store, open_store
from stepcli.probe.config import RunConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.training.bank_threads import Crew
from stepcli.probe.training.banks import Bank, make_banks
from stepcli.probe.training.loss import Targets
from stepcli.probe.training.process import tune_process

Step = Callable[[], object]
CLASSES = 34


class Textbook(nn.Module):
    """STEP as the equations read, with nn.MultiheadAttention over CLS and tokens."""

    def __init__(self, frames: int, dim: int, heads: int, *, cls_only: bool) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(frames, dim) * 0.3)
        self.cls = nn.Parameter(torch.randn(dim))
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.head = nn.Linear(dim, CLASSES)
        self.cls_only = cls_only

    def forward(self, tokens: Tensor) -> Tensor:
        z = nn.functional.layer_norm(tokens, tokens.shape[-1:]) + self.positions[:, None]
        cls = self.cls.expand(len(tokens), 1, -1)
        sequence = torch.cat((cls, z.flatten(1, 2)), dim=1)
        query = cls if self.cls_only else sequence
        out, _ = self.attention(query, sequence, sequence, need_weights=False)
        logits: Tensor = self.head(out[:, 0])
        return logits


def textbook_step(module: nn.Module, tokens: Tensor, labels: Tensor) -> Step:
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(module(tokens), labels))
        optimizer.step()

    return step


def bank_step(members: int, heads: int, tokens: Tensor, labels: Tensor) -> Step:
    """A step of that many STEP probes as training does it: on a CPU a part of the bank a core."""
    _, frames, patches, dim = tokens.shape
    layout = TokenLayout.of(frames, patches, dim)
    options = parse_options(methods().get("step"), {"heads": heads}).model_dump()
    configs = [RunConfig(method="step", options=options, seed=seed) for seed in range(members)]
    counts = torch.ones(CLASSES)
    by_threads: dict[int, tuple[list[Bank], Crew]] = {}

    def work(bank: Bank, batch: TokenBatch) -> None:
        bank.step([(batch, Targets(labels))])

    def step() -> None:
        cores = torch.get_num_threads() if tokens.device.type == "cpu" else 1
        if cores not in by_threads:
            by_threads.clear()
            banks = make_banks(configs, layout, 10_000, counts, tokens.device, cores)
            by_threads[cores] = banks, Crew(len(banks), tokens.device)
        banks, crew = by_threads[cores]
        batch = TokenBatch(tokens)
        batch.make(["normalized"])
        crew.each(lambda bank: work(bank, batch), banks, lambda bank: bank.work)

    return step


def sgemm_step(members: int, heads: int, tokens: Tensor) -> Step:
    """The four passes of a bank over the tokens as bare matrix products of the same shapes."""
    batch, frames, patches, dim = tokens.shape
    flat = tokens.view(-1, dim)
    u = torch.randn(members * heads, dim, device=tokens.device)
    scores = torch.randn(members * heads, batch, frames * patches, device=tokens.device)
    grouped = tokens.view(batch, frames * patches, dim)
    rows = torch.randn(batch, members * heads, dim, device=tokens.device)

    def step() -> None:
        torch.mm(u, flat.T)
        torch.bmm(scores.transpose(0, 1), grouped)
        torch.bmm(rows, grouped.transpose(1, 2))
        torch.mm(scores.view(members * heads, -1), flat)

    return step


def reading_step(tokens: Tensor, folder: Path) -> Step:
    """Read the batch's clips from a store, as float16, its pages in memory."""
    batch, frames, patches, dim = tokens.shape
    spec = StoreSpec(
        backbone="random",
        weights_digest="0" * 64,
        segments=(Segment(name="patches", kind="grid", count=patches, grid=(1, patches)),),
        dim=dim,
        frames=frames,
        sampling="uniform",
        token_scope="frame",
        preprocessing={},
        dtype="float16",
    )
    store = create_store(folder, spec, dataset="random")
    producer = Producer(source="random", device="cpu", numerics="float32", versions={})
    with store.writer(producer) as writer:
        for clip in range(batch):
            record = ClipRecord(str(clip), "random", (0.0,) * frames, frames, 8, 8)
            writer.add(record, tokens[clip].numpy())
    ids = [str(clip) for clip in range(batch)]
    opened = open_store(folder)
    return lambda: opened.read_floats(ids)


def best_medians(sides: dict[str, Step], threads: list[int], repeats: int) -> dict[str, float]:
    """Seconds a step of each side at its best thread count, timed in turn."""
    medians: dict[str, list[float]] = {name: [] for name in sides}
    for count in threads:
        torch.set_num_threads(count)
        times: dict[str, list[float]] = {name: [] for name in sides}
        for repeat in range(repeats + 1):
            for name, step in sides.items():
                start = time.perf_counter()
                step()
                if repeat:  # the first round warms caches and allocators up
                    times[name].append(time.perf_counter() - start)
        for name, values in times.items():
            medians[name].append(statistics.median(values))
    return {name: min(values) for name, values in medians.items()}


def measure(frames: int, dim: int, heads: int, args: argparse.Namespace, folder: Path) -> None:
    """One size: every side at 8 clips, then the largest bank at 32."""
    banks = [int(n) for n in args.banks.split(",") if n]
    n = frames * args.patches
    cls_only, folded = 12 * n * dim**2, 8 * n * dim * heads
    print(f"\nT={frames} P={args.patches} D={dim} H={heads}, float32, threads {args.threads}")
    print(
        f"operations a clip and step: CLS only about 12 N D^2 = {cls_only / 1e9:.2f} G, folded "
        f"8 N D H = {folded / 1e9:.3f} G: at most {cls_only / folded:.0f} times"
    )
    for batch in (args.batch, args.large_batch):
        generator = Generator().manual_seed(0)
        tokens = torch.randn(batch, frames, args.patches, dim, generator=generator)
        labels = torch.randint(0, CLASSES, (batch,), generator=generator)
        sides: dict[str, Step] = {}
        if batch == args.batch:
            full = Textbook(frames, dim, heads, cls_only=False)
            sides["textbook, all tokens, 1 clip"] = textbook_step(full, tokens[:1], labels[:1])
            single = Textbook(frames, dim, heads, cls_only=True)
            sides["textbook, CLS only"] = textbook_step(single, tokens, labels)
            sides["folded, alone"] = bank_step(1, heads, tokens, labels)
            sides["reading the batch"] = reading_step(tokens, folder / str(dim))
        for members in banks if batch == args.batch else banks[-1:]:
            sides[f"folded, bank of {members}"] = bank_step(members, heads, tokens, labels)
            sides[f"bare products of {members}"] = sgemm_step(members, heads, tokens)
        seconds = best_medians(sides, args.threads, args.repeats)
        show(seconds, batch, folded * batch)


def show(seconds: dict[str, float], batch: int, folded: float) -> None:
    """Milliseconds and ratios of a batch size; `folded`: operations of a probe's four passes."""
    head = f"B={batch} clips"
    print(f"{head:<28}{'ms per step':>12}{'ms per probe':>14}{'cheaper than CLS only':>24}")
    for name, value in seconds.items():
        members = int(name.rpartition(" ")[2]) if name.rpartition(" ")[2].isdigit() else 1
        ratio = ""
        if "textbook, CLS only" in seconds and name.startswith("folded"):
            ratio = f"{seconds['textbook, CLS only'] / (value / members):.1f}"
        print(f"{name:<28}{1e3 * value:>12.1f}{1e3 * value / members:>14.2f}{ratio:>24}")
    for name, value in seconds.items():
        if name.startswith("folded, bank"):
            members = int(name.rpartition(" ")[2])
            share = seconds[f"bare products of {members}"] / value
            rate = members * folded / seconds[f"bare products of {members}"] / 1e9
            print(
                f"bank of {members}: {share:.2f} of the rate of its bare products ({rate:.0f} G/s)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dim", type=int, choices=[384, 768], help="one size; default: both")
    parser.add_argument("--batch", type=int, default=8, help="clips per step")
    parser.add_argument("--large-batch", type=int, default=32, help="for the largest bank again")
    parser.add_argument("--patches", type=int, default=257, help="tokens per frame")
    parser.add_argument("--banks", default="4,16,64", help="members of the banks, e.g. 4,16,64")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", help="counts to try; default: 1 and all cores")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    given = [] if args.threads is None else [int(n) for n in args.threads.split(",")]
    args.threads = given or sorted({1, cores or 1})
    tune_process()
    with tempfile.TemporaryDirectory() as folder:
        for frames, dim, heads in ((8, 384, 6), (16, 768, 12)):
            if args.dim in (None, dim):
                measure(frames, dim, heads, args, Path(folder))
    print(
        f"\n{cores} cores, torch {torch.__version__}, medians of {args.repeats}, "
        f"{datetime.now(UTC).isoformat(timespec='seconds')}, python benchmarks/probes.py"
    )


if __name__ == "__main__":
    main()
