"""Same weights, same output as the authors' own code and as transformers' X-CLIP."""

from collections.abc import Callable

import pytest
import torch
import transformers
from golden_cases import (
    TOLERANCE,
    Case,
    efficient,
    evl,
    linear,
    prompt_of,
    put,
    set_tower,
    videox,
    vjepa2_depth1,
    vjepa2_depth4,
    xclip_probe,
)
from torch import Generator
from torch.nn import functional

from stepcli.probe.data.text import StoreText
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.xclip import Xclip


@pytest.mark.parametrize("make", [vjepa2_depth1, vjepa2_depth4, evl, efficient])
def test_same_weights_same_logits(make: Callable[[], Case]) -> None:
    make().check()


@pytest.mark.parametrize("layers", [1, 4])
def test_xclip_is_videox(layers: int, text_of: Callable[..., StoreText]) -> None:
    case = videox(layers, text_of)
    probe, batch, outputs = case.probe, case.batch, case.outputs
    assert isinstance(probe, Xclip)
    torch.testing.assert_close(probe._video(batch)[0], outputs["video"], rtol=1e-5, atol=1e-5)
    prompt = prompt_of(probe, batch, outputs["texts"])
    torch.testing.assert_close(prompt, outputs["prompt"], rtol=1e-5, atol=1e-5)
    case.check()


@torch.no_grad()
def assert_every_matrix_counts(case: Case) -> None:
    """10 % more in half of a matrix's values moves an output by at least 100 tolerances.

    In half of them, because a matrix before a LayerNorm may be multiplied by anything.
    """
    random = Generator().manual_seed(0)
    before = case.everything()
    for name, value in case.probe.named_parameters():
        if value[0].ndim < 2:
            continue
        kept = value.clone()
        half = torch.rand(value.shape, generator=random) < 0.5
        value.mul_(torch.where(half, 1.1, 1.0))
        after = case.everything()
        value.copy_(kept)
        moved = max(float((b - a).abs().max()) for a, b in zip(after, before, strict=True))
        assert moved >= 100 * TOLERANCE, f"{name} moves the outputs by {moved:.1e}"


@pytest.mark.parametrize("make", [vjepa2_depth1, vjepa2_depth4, evl, efficient])
def test_a_wrong_matrix_is_seen(make: Callable[[], Case]) -> None:
    assert_every_matrix_counts(make())


@pytest.mark.parametrize("layers", [1, 4])
def test_a_wrong_matrix_of_xclip_is_seen(layers: int, text_of: Callable[..., StoreText]) -> None:
    assert_every_matrix_counts(videox(layers, text_of))


@pytest.mark.parametrize("layers", [1, 4])
def test_xclip_is_transformers_xclip_model(layers: int, text_of: Callable[..., StoreText]) -> None:
    """From the encoder's tokens on: MIT, prompt generator, and the logits of the whole model."""
    config = transformers.XCLIPConfig(
        text_config={
            "vocab_size": 20,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "max_position_embeddings": 8,
            "eos_token_id": 2,
        },
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "mit_hidden_size": 128,
            "mit_intermediate_size": 512,
            "mit_num_hidden_layers": layers,
            "mit_num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 16,
            "num_frames": 3,
        },
        projection_dim=128,
        prompt_layers=2,
        prompt_num_attention_heads=2,
    )
    torch.manual_seed(0)
    model = transformers.XCLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    weights = {name: value.detach() for name, value in model.named_parameters()}
    pixels = torch.randn(2, 3, 3, 32, 32)
    ids = torch.randint(3, 20, (6, 5))
    ids[:, -1] = 2
    with torch.no_grad():
        theirs = model(input_ids=ids, pixel_values=pixels)
        tokens = model.vision_model(pixels.flatten(0, 1)).last_hidden_state.view(2, 3, 5, 64)
        texts = model.text_projection(model.text_model(ids).pooler_output)

    probe = xclip_probe(
        text_of(tuple("abcdef"), dim=128, vision_dim=64), 64, layers, tuple("abcdef")
    )
    values = {
        "position": weights["mit.position_embedding"],
        "patch_projection": weights["prompts_visual_projection"],
        "alpha": weights["prompts_generator.alpha"],
    }
    values |= linear("prompts_visual_layernorm", "patch_norm", weights)
    values |= linear("prompts_generator.layernorm", "prompt_norm", weights)
    for i in range(layers):
        block, mine = f"mit.encoder.layers.{i}", f"mit.{i}"
        values |= linear(f"{block}.layer_norm1", f"{mine}.norm1", weights)
        values |= linear(f"{block}.layer_norm2", f"{mine}.norm2", weights)
        for part, name in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "out")):
            values |= linear(f"{block}.self_attn.{part}_proj", f"{mine}.attention.{name}", weights)
        values |= linear(f"{block}.mlp.fc1", f"{mine}.feed_forward.up", weights)
        values |= linear(f"{block}.mlp.fc2", f"{mine}.feed_forward.down", weights)
    for i in range(2):
        block, mine = f"prompts_generator.decoder.{i}", f"prompts.{i}"
        for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
            values[f"{mine}.attention.{name}.weight"] = weights[
                f"{block}.cross_attn.{part}_proj.weight"
            ]
        values |= linear(f"{block}.cross_attn.proj", f"{mine}.attention.out", weights)
        values |= linear(f"{block}.norm1", f"{mine}.norm1", weights)
        values |= linear(f"{block}.norm3", f"{mine}.norm3", weights)
        values |= linear(f"{block}.mlp.0", f"{mine}.mlp.up", weights)
        values |= linear(f"{block}.mlp.3", f"{mine}.mlp.down", weights)
    put(probe, values)
    norm = (
        weights["vision_model.post_layernorm.weight"],
        weights["vision_model.post_layernorm.bias"],
    )
    set_tower(probe, texts, weights["logit_scale"], norm, weights["visual_projection.weight"])
    batch = TokenBatch(tokens)
    video = functional.normalize(probe._video(batch)[0], dim=-1)
    torch.testing.assert_close(video, theirs.video_embeds, rtol=0, atol=1e-5)
    mine = functional.normalize(texts + prompt_of(probe, batch, texts), dim=-1)
    torch.testing.assert_close(mine, theirs.text_embeds, rtol=0, atol=1e-5)
    torch.testing.assert_close(probe(batch)[0], theirs.logits_per_video, rtol=1e-5, atol=1e-5)
