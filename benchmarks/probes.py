"""What one training step of a probe costs: textbook attention, CLS-only, folded, and in a bank.

    python benchmarks/probes.py                  # T=8, P=257, D=384
    python benchmarks/probes.py --dim 768 --frames 16 --heads 12
    python benchmarks/probes.py --banks 4,16,64 --repeats 7

Every side gets the same batch of tokens, float32, and does forward, backward and AdamW, as when it
is trained. All sides are timed in turn within each repeat, so that load on the machine meets them
alike, and each at every thread count; its best median counts. Ratios are what to quote, the
milliseconds are this machine's.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

# Spinning OpenMP threads steal the cores that the next side needs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Generator, Tensor, nn

from stepcli.probe.bank import stack
from stepcli.probe.config import RunConfig
from stepcli.probe.process import tune_process
from stepcli.probe.registry import methods, parse_options
from stepcli.probe.tokens import TokenBatch, TokenLayout
from stepcli.probe.train import Bank, build_probe

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
    _, frames, patches, dim = tokens.shape
    layout = TokenLayout.of(frames, patches, dim)
    options = parse_options(methods().get("step"), {"heads": heads}).model_dump()
    configs = [RunConfig(method="step", options=options, seed=seed) for seed in range(members)]
    probe = stack([build_probe(config, layout, CLASSES) for config in configs])
    bank = Bank(configs, probe, steps=10_000)
    return lambda: bank.step(TokenBatch(tokens), labels)


def sgemm_step(members: int, heads: int, tokens: Tensor) -> Step:
    """The four passes of a bank over the tokens as bare matrix products of the same shapes."""
    batch, frames, patches, dim = tokens.shape
    flat = tokens.view(-1, dim)
    u = torch.randn(members * heads, dim)
    scores = torch.randn(members * heads, batch, frames * patches)
    grouped = tokens.view(batch, frames * patches, dim)
    rows = torch.randn(batch, members * heads, dim)

    def step() -> None:
        torch.mm(u, flat.T)
        torch.bmm(scores.transpose(0, 1), grouped)
        torch.bmm(rows, grouped.transpose(1, 2))
        torch.mm(scores.view(members * heads, -1), flat)

    return step


def best_medians(sides: dict[str, Step], threads: list[int], repeats: int) -> dict[str, float]:
    """Seconds a step of each side at its best thread count, timed in turn."""
    times: dict[tuple[str, int], list[float]] = {}
    for repeat in range(repeats + 1):
        for count in threads:
            torch.set_num_threads(count)
            for name, step in sides.items():
                start = time.perf_counter()
                step()
                if repeat:  # the first round warms caches and allocators up
                    times.setdefault((name, count), []).append(time.perf_counter() - start)
    return {name: min(statistics.median(times[name, count]) for count in threads) for name in sides}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--batch", type=int, default=8, help="clips a step")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--patches", type=int, default=257, help="tokens a frame")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--banks", default="4,16,64", help="members of the banks, e.g. 4,16,64")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", default="", help="counts to try; default: 1 and all cores")
    parser.add_argument("--no-full", action="store_true", help="leave the full attention out")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = [int(n) for n in args.threads.split(",") if n] or sorted({1, cores or 1})
    banks = [int(n) for n in args.banks.split(",") if n]
    tune_process()
    generator = Generator().manual_seed(0)
    tokens = torch.randn(args.batch, args.frames, args.patches, args.dim, generator=generator)
    labels = torch.randint(0, CLASSES, (args.batch,), generator=generator)
    sides: dict[str, Step] = {}
    if not args.no_full:
        full = Textbook(args.frames, args.dim, args.heads, cls_only=False)
        sides["textbook, all tokens"] = textbook_step(full, tokens, labels)
    single = Textbook(args.frames, args.dim, args.heads, cls_only=True)
    sides["textbook, CLS only"] = textbook_step(single, tokens, labels)
    sides["folded, alone"] = bank_step(1, args.heads, tokens, labels)
    for members in banks:
        sides[f"folded, bank of {members}"] = bank_step(members, args.heads, tokens, labels)
        sides[f"bare products of {members}"] = sgemm_step(members, args.heads, tokens)
    seconds = best_medians(sides, threads, args.repeats)

    n = args.frames * args.patches
    cls_only, folded = 12 * n * args.dim**2, 8 * n * args.dim * args.heads
    print(
        f"B={args.batch} T={args.frames} P={args.patches} D={args.dim} H={args.heads}, float32, "
        f"threads tried {threads}, medians of {args.repeats}"
    )
    print(
        f"operations a clip and step: CLS only about 12 N D^2 = {cls_only / 1e9:.2f} G, folded "
        f"8 N D H = {folded / 1e9:.3f} G: at most {cls_only / folded:.0f} times"
    )
    print(f"{'':<24}{'ms a step':>12}{'ms a probe':>12}{'cheaper than CLS only':>24}")
    for name, value in seconds.items():
        members = int(name.rpartition(" ")[2]) if name.rpartition(" ")[2].isdigit() else 1
        ratio = seconds["textbook, CLS only"] / (value / members)
        print(f"{name:<24}{1e3 * value:>12.1f}{1e3 * value / members:>12.2f}{ratio:>24.1f}")
    for members in banks:
        share = seconds[f"bare products of {members}"] / seconds[f"folded, bank of {members}"]
        print(f"bank of {members}: {share:.2f} of the rate of its bare matrix products")


if __name__ == "__main__":
    main()
