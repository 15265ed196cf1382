"""Whether a GPU computes what a CPU does: tokens of a backbone, and banks in training.

Called by `benchmarks/gpu.py`. A small model with random weights; float32 on both sides, bfloat16
beside it on the device. The results are differences, not times. Methods whose defaults are large
are made small: six blocks of 512 channels, in four copies, are 76 million parameters, and a CPU
needs a minute to draw and train them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers

from stepcli.probe.config import RunConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.training.banks import make_banks
from stepcli.probe.training.loss import Targets
from stepcli.probe.training.process import tune_process
from stepcli.probe.training.step_graphs import StepGraphs

METHODS: dict[str, dict[str, int]] = {
    "linear": {},
    "step": {},
    "attentive": {},
    "gru": {"hidden": 64},
    "temporal-transformer": {"layers": 2, "width": 64},
    "early-late": {},
}
"""Methods and what differs from their defaults."""
CLASSES = 6
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Size:
    """How much is compared."""

    layers: int
    width: int
    """Of the backbone."""
    batch: int
    patches: int
    dim: int
    """Of the probes' tokens."""
    steps: int


FULL = Size(layers=6, width=384, batch=16, patches=16, dim=64, steps=10)
TINY = Size(layers=2, width=64, batch=2, patches=4, dim=16, steps=3)


def compare(
    device: torch.device,
    size: Size,
    keep: Callable[[dict[str, float]], None],
    end: float = float("inf"),
) -> dict[str, float]:
    """Prints and keeps each figure as soon as it is there.

    Args:
        device: What is compared with the CPU.
        size: How much of it.
        keep: Called with all figures so far.
        end: By the monotonic clock; no comparison is begun after it.
    """
    tune_process()
    found: dict[str, float] = {}

    def add(name: str, value: torch.Tensor) -> None:
        found[name] = float(value)
        print(f"{name:60} {found[name]:.3g}", flush=True)
        keep(found)

    _compare_tokens(device, size, add)
    for method in METHODS:
        if time.monotonic() >= end:
            print("out of time: the other methods are not compared", flush=True)
            break
        here, there = (_losses(method, on, size) for on in (CPU, device))
        add(f"{method}: largest difference of {size.steps} losses", (here - there).abs().max())
    return found


def _compare_tokens(
    device: torch.device, size: Size, add: Callable[[str, torch.Tensor], None]
) -> None:
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.width // 32,
        image_size=224,
    )
    model = transformers.Dinov2Model(config).eval()
    pixels = torch.randn(4, 3, 224, 224)
    with torch.inference_mode():
        wanted = model(pixels).last_hidden_state
        for dtype in (torch.float32, torch.bfloat16):
            model.to(device, dtype)
            tokens = model(pixels.to(device, dtype)).last_hidden_state.float().cpu()
            cosine = torch.nn.functional.cosine_similarity(tokens, wanted, dim=-1).min()
            name = f"tokens, {dtype}".replace("torch.", "")
            add(f"{name}: 1 - least cosine with the CPU's", 1 - cosine)
            add(f"{name}: largest difference", (tokens - wanted).abs().max())


def _losses(method: str, device: torch.device, size: Size) -> torch.Tensor:
    """[steps, 4]: of a bank of four, from the same initial values and batches everywhere."""
    layout = TokenLayout.of(frames=8, tokens=1 + size.patches, dim=size.dim)
    options = parse_options(methods().get(method), METHODS[method]).model_dump()
    configs = [RunConfig(method=method, options=options, seed=seed) for seed in range(4)]
    (bank,) = make_banks(configs, layout, size.steps, torch.ones(CLASSES), device, 1)
    generator = torch.Generator().manual_seed(0)
    shape = size.batch, 8, 1 + size.patches, size.dim
    losses = []
    graphs = StepGraphs([bank], device, print)
    for _ in range(size.steps):
        tokens = torch.randn(shape, generator=generator).to(device)
        labels = torch.randint(0, CLASSES, (size.batch,), generator=generator).to(device)
        parts = [(TokenBatch(tokens), Targets(labels))]
        losses.append(graphs.step(bank, parts, graphs.hold(parts)).cpu())
        graphs.remember(parts)
    return torch.stack(losses)
