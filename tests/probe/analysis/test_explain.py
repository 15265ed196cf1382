"""Attention weights are those that the read-out uses: they rebuild its output."""

import pytest
import torch
from torch import Tensor

from stepcli.cache.schema.spec import Segment
from stepcli.probe.analysis.explain import attention, encoding_similarity, patch_grid
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.nn.bank import Probe
from stepcli.probe.nn.folded import observer
from stepcli.runtime.errors import UsageError


def build(layout: TokenLayout, name: str, **options: object) -> Probe:
    info = methods().get(name)
    generator = torch.Generator().manual_seed(3)
    return info.build(layout, 5, parse_options(info, options), generator).eval()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("step", {}),
        ("step", {"norm": "sum", "patch_pe": True}),
        ("step", {"block": "full"}),
        ("step", {"cls": "per-frame"}),
        ("attentive", {}),
        ("self-attention", {"pe": "learned"}),
        ("efficient", {"heads": 8}),
    ],
)
def test_all_attention_is_accounted_for(
    layout: TokenLayout, tokens: Tensor, name: str, options: dict[str, object]
) -> None:
    probe = build(layout, name, **options)
    seen = attention(probe, TokenBatch(tokens))
    assert seen.weights.shape == (5, 8, 4, 3)
    total = seen.weights.sum(dim=(3,)) if options.get("cls") else seen.weights.sum(dim=(2, 3))
    assert torch.allclose(total + seen.prepended, torch.ones_like(total), atol=1e-6)
    assert bool((seen.prepended > 0).all()) == (name in ("step", "self-attention"))
    assert observer.get() is None


def test_the_weights_are_a_textbook_attentions(layout: TokenLayout, tokens: Tensor) -> None:
    probe = build(layout, "step")
    seen = attention(probe, TokenBatch(tokens))
    state = {name: tensor[0] for name, tensor in probe.state_dict().items()}
    textbook = torch.nn.MultiheadAttention(32, 8, batch_first=True)
    with torch.no_grad():
        names = ("query", "key", "value")
        for kind in ("weight", "bias"):
            stacked = torch.cat(
                [
                    state[f"reader.{name}.{kind}"].flatten(1)
                    if kind == "weight"
                    else state[f"reader.{name}.{kind}"].flatten()
                    for name in names
                ]
            )
            getattr(textbook, f"in_proj_{kind}").copy_(stacked)
        x = TokenBatch(tokens).normalized + state["input.frame_encoding"][:, None]
        rows = torch.cat([state["cls"].expand(5, 1, -1), x.flatten(1, 2)], dim=1)
        _, weights = textbook(rows[:, :1], rows, rows, average_attn_weights=False)
    assert torch.allclose(seen.weights.flatten(2), weights[:, :, 0, 1:], atol=1e-5)
    assert torch.allclose(seen.prepended, weights[:, :, 0, 0], atol=1e-5)


def test_missing_frames_get_no_attention(layout: TokenLayout, tokens: Tensor) -> None:
    mask = torch.tensor([[True, True, False, True]] * 5)
    seen = attention(build(layout, "step"), TokenBatch(tokens, mask))
    assert seen.over_frames[:, :, 2].abs().max() == 0
    assert seen.over_frames[:, :, 3].min() > 0


def test_a_method_without_a_query_has_none(layout: TokenLayout, tokens: Tensor) -> None:
    with pytest.raises(UsageError, match="no attention to show"):
        attention(build(layout, "linear"), TokenBatch(tokens))


def test_patches_are_laid_out_as_they_stand_in_the_picture(tokens: Tensor) -> None:
    segments = (
        Segment(name="cls", kind="prefix", count=1),
        Segment(name="grid1", kind="grid", count=2, grid=(1, 2)),
    )
    layout = TokenLayout(4, 32, segments)
    whole = attention(build(layout, "step"), TokenBatch(tokens))
    grid = patch_grid(whole, segments)
    assert grid is not None
    assert grid.shape == (5, 8, 4, 1, 2)
    assert torch.equal(grid[..., 0, :], whole.weights[..., 1:])
    patches = attention(build(layout, "step", tokens="patches"), TokenBatch(tokens))
    alone = patch_grid(patches, segments)
    assert alone is not None
    assert torch.equal(alone[..., 0, :], patches.weights)
    only_cls = attention(build(layout, "step", tokens="cls"), TokenBatch(tokens))
    assert patch_grid(only_cls, segments) is None


def test_encodings_are_as_similar_as_their_cosine(layout: TokenLayout) -> None:
    probe = build(layout, "step")
    similar = encoding_similarity(probe)
    assert similar is not None
    rows = probe.state_dict()["input.frame_encoding"][0]
    assert similar[0, 1] == pytest.approx(torch.cosine_similarity(rows[0], rows[1], dim=0).item())
    assert similar.diagonal() == pytest.approx(torch.ones(4))
    assert encoding_similarity(build(layout, "attentive")) is None
