"""Whether a GPU computes what a CPU does: tokens of a backbone, and banks in training.

Called by `benchmarks/gpu.py`. A small model with random weights; float32 on both sides, bfloat16
beside it on the device. The results are differences, not times.
"""

import torch
import transformers

from stepcli.probe.config import RunConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.training.banks import make_banks
from stepcli.probe.training.loss import Targets
from stepcli.runtime.devices import use_exact_float32

METHODS = ("linear", "step", "attentive", "gru", "temporal-transformer", "early-late")
STEPS = 20
CPU = torch.device("cpu")


def compare(device: torch.device) -> dict[str, float]:
    """Prints and returns each comparison's figure."""
    use_exact_float32()
    found: dict[str, float] = {}
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=6, image_size=224
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
            found[f"{name}: least cosine with the CPU's"] = float(cosine)
            found[f"{name}: largest difference"] = float((tokens - wanted).abs().max())
    for method in METHODS:
        here, there = (_losses(method, on) for on in (CPU, device))
        found[f"{method}: largest difference of {STEPS} losses"] = float((here - there).abs().max())
    for name, value in found.items():
        print(f"{name:60} {value:.3g}", flush=True)
    return found


def _losses(method: str, device: torch.device) -> torch.Tensor:
    """[STEPS, 4]: of a bank of four, from the same initial values and batches everywhere."""
    layout = TokenLayout.of(frames=8, tokens=17, dim=64)
    options = parse_options(methods().get(method), {}).model_dump()
    configs = [RunConfig(method=method, options=options, seed=seed) for seed in range(4)]
    (bank,) = make_banks(configs, layout, STEPS, torch.ones(6), device, 1)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(STEPS):
        tokens = torch.randn(16, 8, 17, 64, generator=generator).to(device)
        labels = torch.randint(0, 6, (16,), generator=generator).to(device)
        losses.append(bank.gradients(TokenBatch(tokens), Targets(labels)).cpu())
        bank.update()
    return torch.stack(losses)
