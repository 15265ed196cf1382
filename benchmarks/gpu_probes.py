"""What a training step of STEP probes costs on a GPU, beside streaming its tokens four times.

    python benchmarks/gpu_probes.py                        # on the first GPU
    python benchmarks/gpu_probes.py --device cpu --tiny    # does it run at all?

The four passes over the tokens must read the batch four times, so the card's own copy bandwidth,
measured here on the same bytes, bounds a step from below; the target is 1.5 times that for a bank
whose products are not bound by arithmetic. float32 and bfloat16 products, alone and in banks.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from probes import CLASSES, Step, Textbook, sgemm_step, textbook_step

from stepcli.probe.config import RunConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.training.banks import make_banks
from stepcli.probe.training.loss import Targets
from stepcli.probe.training.process import tune_process
from stepcli.probe.training.step_graphs import StepGraphs


def bank_step(
    members: int,
    heads: int,
    tokens: torch.Tensor,
    labels: torch.Tensor,
    precision: torch.dtype,
    *,
    captured: bool = True,
) -> Step:
    """A step as a graph, as training takes it on a GPU, or operation by operation."""
    _, frames, patches, dim = tokens.shape
    layout = TokenLayout.of(frames, patches, dim)
    options = parse_options(methods().get("step"), {"heads": heads}).model_dump()
    configs = [RunConfig(method="step", options=options, seed=seed) for seed in range(members)]
    (bank,) = make_banks(configs, layout, 10_000, torch.ones(CLASSES), tokens.device, 1)
    graphs = StepGraphs([bank], tokens.device, print)

    def step() -> None:
        batch = TokenBatch(tokens)
        batch.precision = precision
        parts = [(batch, Targets(labels))]
        if captured:
            graphs.step(bank, parts, graphs.hold(parts))
            graphs.remember(parts)
        else:
            bank.step(parts)

    return step


def medians(sides: dict[str, Step], wait: Callable[[], object], repeats: int) -> dict[str, float]:
    """Seconds per step, all sides in turn within each repeat."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 2):
        for name, step in sides.items():
            wait()
            start = time.perf_counter()
            step()
            wait()
            if repeat > 1:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(
    batch: int, frames: int, patches: int, dim: int, heads: int, device: str, repeats: int
) -> None:
    tokens = torch.randn(batch, frames, patches, dim, device=device)
    labels = torch.randint(0, CLASSES, (batch,), device=device)
    textbook = Textbook(frames, dim, heads, cls_only=True).to(device)
    copy = torch.empty_like(tokens)
    sides: dict[str, Step] = {
        "copy of the batch": lambda: copy.copy_(tokens),
        "textbook, CLS only": textbook_step(textbook, tokens, labels),
    }
    for members in (1, 4, 16, 64) if device == "cpu" else (1, 4, 16, 64, 256):
        for name, precision in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            sides[f"{name}, bank of {members}"] = bank_step(
                members, heads, tokens, labels, precision
            )
        if device != "cpu":
            sides[f"launched one by one, bank of {members}"] = bank_step(
                members, heads, tokens, labels, torch.float32, captured=False
            )
    sides["bare products of 64"] = sgemm_step(64, heads, tokens)
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    seconds = medians(sides, wait, repeats)
    # A copy reads and writes; streaming once only reads.
    stream = seconds["copy of the batch"] / 2
    print(
        f"\nB={batch} T={frames} P={patches} D={dim} H={heads}: {tokens.nbytes / 2**20:.0f} MiB, "
        f"copied at {2 * tokens.nbytes / seconds['copy of the batch'] / 1e9:.0f} GB/s"
    )
    print(f"{'':<36}{'ms per step':>12}{'ms per probe':>14}{'streams':>9}{'x CLS only':>12}")
    for name, value in seconds.items():
        members = int(name.rpartition(" ")[2]) if name.rpartition(" ")[2].isdigit() else 1
        print(
            f"{name:<36}{1e3 * value:>12.3f}{1e3 * value / members:>14.3f}{value / stream:>9.1f}"
            f"{seconds['textbook, CLS only'] / (value / members):>12.1f}"
        )
    share = seconds["bare products of 64"] / seconds["float32, bank of 64"]
    print(f"bank of 64: {share:.2f} of the rate of its bare float32 products; 4 streams are the")
    print("floor of a step, 6 the target (1.5 times four)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes, to see that it runs")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    tune_process()
    if args.tiny:
        measure(2, 2, 5, 32, 4, args.device, repeats=2)
    else:
        measure(32, 8, 257, 384, 6, args.device, args.repeats)
        measure(32, 16, 257, 768, 12, args.device, args.repeats)
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else "cpu"
    print(f"\n{name}, torch {torch.__version__}, python benchmarks/gpu_probes.py")


if __name__ == "__main__":
    main()
