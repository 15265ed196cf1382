"""Probes that hold the weights of the golden files, and what the authors' code gave on them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from golden_values import draw
from safetensors import safe_open
from torch import Generator, Tensor
from torch.nn import functional

from stepcli.cache.schema.spec import Segment
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.text import StoreText
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.methods.xclip import Xclip
from stepcli.probe.nn.bank import Probe

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-5
CLS = Segment(name="cls", kind="prefix", count=1)
PATCHES = Segment(name="grid2", kind="grid", count=4, grid=(2, 2))


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Weights, inputs and outputs of one file; a file that is not there fails the test."""
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["drawn"])
        outputs = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    weights = draw(facts["seed"], facts["weights"])
    return weights, draw(100 + facts["seed"], facts["inputs"]), outputs


def build(name: str, layout: TokenLayout, classes: int, **options: object) -> Probe:
    info = methods().get(name)
    return info.build(layout, classes, parse_options(info, options), Generator().manual_seed(0))


def put(probe: Probe, values: Mapping[str, Tensor]) -> None:
    """Set every parameter of the first member; none may be left out."""
    own = dict(probe.named_parameters())
    assert set(values) == set(own)
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value.reshape(own[name].shape))


def linear(theirs: str, mine: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weight and bias of one layer under our name."""
    return {f"{mine}.{part}": weights[f"{theirs}.{part}"] for part in ("weight", "bias")}


def split(
    theirs: tuple[str, str], mine: tuple[str, ...], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """One stacked projection as several layers."""
    values = {}
    for part, name in zip(("weight", "bias"), theirs, strict=True):
        for layer, piece in zip(mine, weights[name].chunk(len(mine)), strict=True):
            values[f"{layer}.{part}"] = piece
    return values


@dataclass(frozen=True)
class Case:
    """A probe that holds a file's weights, the batch it was shown, and the authors' outputs."""

    probe: Probe
    batch: TokenBatch
    outputs: dict[str, Tensor]
    parts: Callable[[Probe, TokenBatch], list[Tensor]] = lambda *_: []
    """What the authors' outputs say beside the logits."""

    def everything(self) -> list[Tensor]:
        """Every output that is compared."""
        return [self.probe(self.batch), *self.parts(self.probe, self.batch)]

    def check(self) -> None:
        logits = self.probe(self.batch)[0]
        torch.testing.assert_close(logits, self.outputs["logits"], rtol=0, atol=TOLERANCE)


def vjepa2_depth1() -> Case:
    weights, inputs, outputs = golden("vjepa2-depth1")
    probe = build("attentive", TokenLayout.of(3, 4, 16), 5, heads=4)
    block = "pooler.cross_attention_block"
    put(
        probe,
        {"cls": weights["pooler.query_tokens"]}
        | linear(f"{block}.norm1", "block.norm1", weights)
        | linear(f"{block}.norm2", "block.norm2", weights)
        | linear(f"{block}.xattn.q", "block.attention.query", weights)
        | split(
            (f"{block}.xattn.kv.weight", f"{block}.xattn.kv.bias"),
            ("block.attention.key", "block.attention.value"),
            weights,
        )
        | linear(f"{block}.mlp.fc1", "block.feed_forward.up", weights)
        | linear(f"{block}.mlp.fc2", "block.feed_forward.down", weights)
        | linear("linear", "head", weights),
    )
    return Case(probe, TokenBatch(inputs["tokens"] * 5), outputs)


def vjepa2_depth4() -> Case:
    weights, inputs, outputs = golden("vjepa2-depth4")
    probe = build("attentive-deep", TokenLayout.of(3, 4, 16), 5, heads=4)
    block = "pooler.cross_attention_block"
    values = (
        {"cls": weights["pooler.query_tokens"]}
        | linear(f"{block}.norm1", "norm1", weights)
        | linear(f"{block}.norm2", "norm2", weights)
        | linear(f"{block}.xattn.q", "query", weights)
        | split((f"{block}.xattn.kv.weight", f"{block}.xattn.kv.bias"), ("key", "value"), weights)
        | linear(f"{block}.mlp.fc1", "feed_forward.up", weights)
        | linear(f"{block}.mlp.fc2", "feed_forward.down", weights)
        | linear("linear", "head", weights)
    )
    for i in range(3):
        theirs, mine = f"pooler.blocks.{i}", f"blocks.{i}"
        values |= (
            linear(f"{theirs}.norm1", f"{mine}.norm1", weights)
            | linear(f"{theirs}.norm2", f"{mine}.norm2", weights)
            | split(
                (f"{theirs}.attn.qkv.weight", f"{theirs}.attn.qkv.bias"),
                tuple(f"{mine}.attention.{part}" for part in ("query", "key", "value")),
                weights,
            )
            | linear(f"{theirs}.attn.proj", f"{mine}.attention.out", weights)
            | linear(f"{theirs}.mlp.fc1", f"{mine}.feed_forward.up", weights)
            | linear(f"{theirs}.mlp.fc2", f"{mine}.feed_forward.down", weights)
        )
    put(probe, values)
    return Case(probe, TokenBatch(inputs["tokens"] * 5), outputs)


def evl() -> Case:
    weights, inputs, outputs = golden("evl")
    layout = TokenLayout(3, 16, (CLS, PATCHES), (-4, -3, -2, -1))
    probe = build("evl", layout, 5, heads=4)
    values = {"cls": weights["decoder.cls_token"]}
    values |= linear("proj.0", "norm", weights) | linear("proj.2", "head", weights)
    for i in range(4):
        theirs, mine = f"decoder.decoder_layers.{i}", f"decoder.{i}"
        values |= {
            f"{mine}.taps": weights[f"decoder.temporal_conv.{i}.weight"],
            f"{mine}.conv_bias": weights[f"decoder.temporal_conv.{i}.bias"],
            f"{mine}.frame_encoding": weights[f"decoder.temporal_pos_embed.{i}"],
        }
        for norm in ("norm1", "norm2", "norm3"):
            values |= linear(f"{theirs}.{norm}", f"{mine}.{norm}", weights)
        for part, name in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "out")):
            values |= linear(f"{theirs}.attn.{part}_proj", f"{mine}.{name}", weights)
        values |= linear(f"{theirs}.mlp.fc1", f"{mine}.mlp.up", weights)
        values |= linear(f"{theirs}.mlp.fc2", f"{mine}.mlp.down", weights)
    put(probe, values)
    return Case(probe, TokenBatch(inputs["tokens"] * 5), outputs)


def efficient() -> Case:
    """Running statistics of one batch, then a test on it: as make.py had it."""
    weights, inputs, outputs = golden("efficient")
    options = {"heads": 4, "pooled_norm": "batch"}
    probe = build("efficient", TokenLayout.of(3, 4, 16), 5, **options)
    put(
        probe,
        {"queries": weights["0.cls_token"], "value.weight": weights["0.v.weight"]}
        | linear("2", "head", weights),
    )
    batch = TokenBatch(inputs["tokens"] * 5)
    probe.train()(batch)
    return Case(probe.eval(), batch, outputs)


def xclip_probe(text: StoreText, dim: int, layers: int, classes: tuple[str, ...]) -> Xclip:
    layout = TokenLayout(3, dim, (CLS, PATCHES), classes=classes, texts=(text,))
    probe = build("xclip", layout, len(classes), mit_layers=layers)
    assert isinstance(probe, Xclip)
    return probe


def set_tower(
    probe: Xclip, texts: Tensor, scale: Tensor, norm: tuple[Tensor, Tensor], projection: Tensor
) -> None:
    """Put a tower's texts and its way from the CLS to them into the probe's frozen buffers."""
    assert probe.frames.tower is not None
    with torch.no_grad():
        probe.labels.copy_(functional.normalize(texts, dim=-1))
        probe.label_lengths.copy_(texts.norm(dim=-1))
        probe.scale.copy_(scale.exp())
        probe.frames.tower.norm_weight.copy_(norm[0])
        probe.frames.tower.norm_bias.copy_(norm[1])
        probe.frames.tower.projection.copy_(projection)


def prompt_of(probe: Xclip, batch: TokenBatch, texts: Tensor) -> Tensor:
    """What the probe adds to the texts, alpha included."""
    visual = probe._visual(batch)
    prompted = texts[None, None].expand(1, len(batch.raw), -1, -1)
    for layer in probe.prompts:
        prompted = layer(prompted, visual)
    return (probe.alpha * prompted)[0]


def videox(layers: int, text_of: Callable[..., StoreText]) -> Case:
    weights, inputs, outputs = golden(f"xclip-mit{layers}")
    probe = xclip_probe(
        text_of(tuple("abcdef"), dim=128, vision_dim=64), 64, layers, tuple("abcdef")
    )
    values = {
        "position": weights["mit.positional_embedding"],
        "patch_norm.weight": weights["prompts_visual_ln.weight"],
        "patch_norm.bias": weights["prompts_visual_ln.bias"],
        "patch_projection": weights["prompts_visual_proj"],
        "alpha": weights["prompts_generator.alpha"],
    } | linear("prompts_generator.norm", "prompt_norm", weights)
    for i in range(layers):
        theirs, mine = f"mit.resblocks.{i}", f"mit.{i}"
        values |= (
            linear(f"{theirs}.ln_1", f"{mine}.norm1", weights)
            | linear(f"{theirs}.ln_2", f"{mine}.norm2", weights)
            | split(
                (f"{theirs}.attn.in_proj_weight", f"{theirs}.attn.in_proj_bias"),
                tuple(f"{mine}.attention.{part}" for part in ("query", "key", "value")),
                weights,
            )
            | linear(f"{theirs}.attn.out_proj", f"{mine}.attention.out", weights)
            | linear(f"{theirs}.mlp.c_fc", f"{mine}.feed_forward.up", weights)
            | linear(f"{theirs}.mlp.c_proj", f"{mine}.feed_forward.down", weights)
        )
    for i in range(2):
        theirs, mine = f"prompts_generator.decoder.{i}", f"prompts.{i}"
        for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
            values[f"{mine}.attention.{name}.weight"] = weights[
                f"{theirs}.cross_attn.{part}_proj.weight"
            ]
        values |= (
            linear(f"{theirs}.cross_attn.proj", f"{mine}.attention.out", weights)
            | linear(f"{theirs}.norm1", f"{mine}.norm1", weights)
            | linear(f"{theirs}.norm3", f"{mine}.norm3", weights)
            | linear(f"{theirs}.mlp.0", f"{mine}.mlp.up", weights)
            | linear(f"{theirs}.mlp.3", f"{mine}.mlp.down", weights)
        )
    put(probe, values)
    norm = (weights["visual.ln_post.weight"], weights["visual.ln_post.bias"])
    texts = inputs["texts"] * 5
    set_tower(probe, texts, weights["logit_scale"], norm, weights["visual.proj"].T)
    return Case(
        probe,
        TokenBatch(inputs["tokens"] * 5),
        outputs | {"texts": texts},
        lambda _, batch: [probe._video(batch), prompt_of(probe, batch, texts)],
    )
