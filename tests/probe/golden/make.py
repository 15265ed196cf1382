"""Make the golden outputs anew from the authors' own code.

    python make.py VJEPA2 EVL VIDEOX EP

with the roots of checkouts of facebookresearch/vjepa2, OpenGVLab/efficient-video-recognition,
microsoft/VideoX and billpsomas/efficient-probing (commits in README.md). Their code is imported,
run once, and not kept. timm is replaced by the two functions that are used of it, einops by a name,
and VideoX's `clip` package is entered without its __init__, which wants torchvision.

Weights and inputs are drawn by `golden_values.draw` from a fixed seed, so the tests draw the same
and only outputs are stored, with names and shapes of what was drawn.
"""

import json
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from golden_values import draw  # noqa: E402


def fill(module: nn.Module, seed: int) -> dict[str, list[int]]:
    """Draw every trainable value of a module anew; returns their shapes."""
    own = dict(module.named_parameters())
    shapes = {name: list(value.shape) for name, value in own.items()}
    with torch.no_grad():
        for name, value in draw(seed, shapes).items():
            own[name].copy_(value)
    module.eval()
    return shapes


def keep(name: str, seed: int, weights: dict, inputs: dict, outputs: dict[str, Tensor]) -> None:
    facts = {"seed": seed, "weights": weights, "inputs": inputs}
    save_file(
        {k: v.detach().contiguous() for k, v in outputs.items()},
        HERE / f"{name}.safetensors",
        {"drawn": json.dumps(facts)},
    )


def replace_timm() -> None:
    layers = types.ModuleType("timm.models.layers")
    layers.trunc_normal_ = nn.init.trunc_normal_
    layers.drop_path = lambda x, *_: x
    for name in ("timm", "timm.models"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["timm.models.layers"] = layers
    sys.modules["einops"] = types.ModuleType("einops")
    sys.modules["einops"].rearrange = None  # imported there, not called here


def vjepa2(root: Path) -> None:
    sys.path.insert(0, str(root))
    from src.models.attentive_pooler import AttentiveClassifier

    for depth in (1, 4):
        model = AttentiveClassifier(embed_dim=16, num_heads=4, depth=depth, num_classes=5)
        weights = fill(model, seed=depth)
        inputs = {"tokens": [2, 3, 4, 16]}
        x = draw(100 + depth, inputs)["tokens"] * 5
        logits = model(functional.layer_norm(x, (16,)).flatten(1, 2))
        keep(f"vjepa2-depth{depth}", depth, weights, inputs, {"logits": logits})


def evl(root: Path) -> None:
    sys.path.insert(0, str(root))
    from model import EVLDecoder

    decoder = EVLDecoder(
        num_frames=3,
        spatial_size=(2, 2),
        num_layers=4,
        in_feature_dim=16,
        qkv_dim=16,
        num_heads=4,
        enable_temporal_cross_attention=False,
    )
    # As EVLTransformer.proj.
    head = nn.Sequential(nn.LayerNorm(16), nn.Dropout(0.5), nn.Linear(16, 5))
    model = nn.ModuleDict({"decoder": decoder, "proj": head})
    weights = fill(model, seed=7)
    inputs = {"tokens": [2, 3, 4, 5, 16]}
    x = draw(107, inputs)["tokens"] * 5
    # [clips, frames, layers, tokens, channels]; a copy, because they add into it.
    features = [{"out": x[:, :, layer].clone()} for layer in range(4)]
    logits = head(decoder(features)[:, 0])
    keep("evl", 7, weights, inputs, {"logits": logits})


def xclip(root: Path) -> None:
    sys.path.insert(0, str(root / "X-CLIP"))
    package = types.ModuleType("clip")
    package.__path__ = [str(root / "X-CLIP" / "clip")]
    sys.modules["clip"] = package
    from models.xclip import XCLIP

    for layers in (1, 4):
        model = XCLIP(
            embed_dim=128,
            image_resolution=32,
            vision_layers=1,
            vision_width=64,
            vision_patch_size=16,
            context_length=8,
            vocab_size=10,
            transformer_width=64,
            transformer_heads=1,
            transformer_layers=1,
            T=3,
            mit_layers=layers,
            prompts_alpha=0.1,
            prompts_layers=2,
            use_cache=False,
        )
        weights = fill(model, seed=20 + layers)
        inputs = {"tokens": [2, 3, 5, 64], "texts": [6, 128]}
        drawn = draw(120 + layers, inputs)
        tokens, texts = drawn["tokens"] * 5, drawn["texts"] * 5
        flat = tokens.flatten(0, 1)
        # What the image encoder ends with (models/cct.py), on tokens as a store would hold them.
        cls = model.visual.ln_post(flat[:, 0]) @ model.visual.proj
        model.encode_image = lambda image, cls=cls, flat=flat: (cls, flat[:, 1:])
        model.encode_text = lambda text, texts=texts: texts
        logits = model(torch.zeros(2, 3, 3, 32, 32), None)
        video = model.mit(cls.view(2, 3, -1))
        prompt_text = texts.expand(2, -1, -1)
        _, patches = model.encode_video(torch.zeros(2, 3, 3, 32, 32))
        prompt = model.prompts_generator(prompt_text, patches.mean(dim=1))
        outputs = {"logits": logits, "video": video, "prompt": prompt}
        keep(f"xclip-mit{layers}", 20 + layers, weights, inputs, outputs)


def efficient(root: Path) -> None:
    sys.path.insert(0, str(root))
    from poolings.ep import EfficientProbing

    # As probe_heads.py puts it together.
    model = nn.Sequential(
        EfficientProbing(16, num_queries=4),
        nn.BatchNorm1d(16, affine=False, eps=1e-6),
        nn.Linear(16, 5),
    )
    weights = fill(model, seed=30)
    inputs = {"tokens": [6, 3, 4, 16]}
    x = draw(130, inputs)["tokens"] * 5
    tokens = functional.layer_norm(x, (16,)).flatten(1, 2)
    model.train()(tokens)  # running statistics of one batch
    logits = model.eval()(tokens)
    keep("efficient", 30, weights, inputs, {"logits": logits})


if __name__ == "__main__":
    replace_timm()
    vjepa2(Path(sys.argv[1]))
    evl(Path(sys.argv[2]))
    xclip(Path(sys.argv[3]))
    efficient(Path(sys.argv[4]))
