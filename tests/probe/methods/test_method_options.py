"""Options that many methods share: tokens, heads, encodings, moving patches."""

from dataclasses import replace

import pytest
import torch
from every_method import (
    NAMES,
    TRAINED,
    batch_of,
    build,
    loss_of,
    rich_layout,
    rich_tokens,
    token_method,
    trained_method,
)
from torch import Tensor

from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.text import StoreText
from stepcli.probe.methods.registry import methods
from stepcli.runtime.errors import UsageError


@pytest.fixture
def layout(text: StoreText) -> TokenLayout:
    """4 frames of a CLS and 3 x 3 patches with 32 channels, 4 layers, 6 classes, texts."""
    return rich_layout(text)


@pytest.fixture
def tokens() -> Tensor:
    """5 clips of that layout."""
    return rich_tokens()


@token_method
@pytest.mark.parametrize("select", ["all", "patches", "cls"])
def test_reads_the_tokens_that_are_asked_for(
    name: str, select: str, tokens: Tensor, layout: TokenLayout
) -> None:
    probe = build(name, layout, tokens=select)
    unread = {"all": [], "patches": [0], "cls": list(range(1, 10))}[select]
    other = tokens.clone()
    other[..., unread, :] += 1.0 + torch.arange(32)
    torch.testing.assert_close(probe(batch_of(other)), probe(batch_of(tokens)))
    for position in {0, 1, 9} - set(unread):
        other = tokens.clone()
        other[..., position, :] += torch.linspace(-3, 3, 32)
        assert not torch.allclose(probe(batch_of(other)), probe(batch_of(tokens)), atol=1e-4)


@token_method
def test_tokens_that_the_store_lacks_are_named(name: str, layout: TokenLayout) -> None:
    patches = replace(layout, segments=layout.segments[1:])
    with pytest.raises(UsageError, match="extract with --tokens cls"):
        build(name, patches, tokens="cls")


@pytest.mark.parametrize("name", NAMES)
def test_what_else_a_method_needs_is_named_with_the_flags_that_provide_it(
    name: str, layout: TokenLayout
) -> None:
    """Of a bare store of patches, a method either is content, or says which flags would do."""
    bare = replace(layout, segments=layout.segments[1:], layers=(-1,), texts=())
    needs = methods().get(name).needs
    if not needs:
        build(name, bare)
        return
    flag = "--text" if "text embeddings" in needs else "--layers"
    with pytest.raises(UsageError, match=flag):
        build(name, bare)


HEADED = [name for name in NAMES if "heads" in methods().get(name).options.model_fields]


@pytest.mark.parametrize("name", [*HEADED, "rvm without layers"])
def test_heads_that_do_not_divide_the_channels_are_refused_with_those_that_do(
    name: str, layout: TokenLayout
) -> None:
    """Also where no layer but the read-out has heads."""
    options = {"layers": 0} if name == "rvm without layers" else {}
    with pytest.raises(UsageError, match=r"heads=7 .* channels; use one of \[1, 2, 4, 8, 16"):
        build(name.partition(" ")[0], layout, heads=7, **options)


@pytest.mark.parametrize(("name", "aware"), [("attentive", False), ("self-attention", False)])
def test_an_encoding_makes_any_token_probe_order_aware(
    name: str, aware: bool, tokens: Tensor, layout: TokenLayout
) -> None:
    for pe in ("learned", "sinusoidal"):
        probe = build(name, layout, pe=pe, pe_scale=1.0)
        with torch.no_grad():
            probe.get_parameter("cls").mul_(100)
        moved = (probe(batch_of(tokens)) - probe(batch_of(tokens.flip(1)))).abs().max()
        assert (moved > 1e-3) is not aware


MOVING = [n for n in NAMES if "moving" in methods().get(n).options.model_fields]


moving_method = pytest.mark.parametrize("name", MOVING)


@moving_method
def test_moving_patches_alone_are_read(name: str, tokens: Tensor, layout: TokenLayout) -> None:
    """3 of 9 patches move; whatever the others show, the logits do not see it."""
    tokens = tokens.clone()
    still = [1, 2, 4, 5, 7, 8]
    tokens[..., still, :] = tokens[:, :1][..., still, :]
    probe = build(name, layout, moving=1 / 3)
    other = tokens.clone()
    other[..., still, :] += torch.linspace(-3, 3, 32)
    mask = torch.tensor([[True, True, False, True]] * 5)
    for there in (None, mask):
        seen = probe(batch_of(tokens, there))
        torch.testing.assert_close(probe(batch_of(other, there)), seen)
        assert bool(seen.isfinite().all())
    for place in (0, 3):  # the CLS, and a patch that moves
        other = tokens.clone()
        other[..., place, :] *= torch.linspace(-3, 3, 32)
        assert not torch.allclose(probe(batch_of(other)), probe(batch_of(tokens)), atol=1e-4)
    if name not in TRAINED:
        return
    loss_of(probe, batch_of(tokens)).backward()
    assert all(bool(p.grad.isfinite().all()) for p in probe.parameters() if p.grad is not None)


@moving_method
def test_moving_patches_are_chosen_in_any_order_of_the_frames(
    name: str, tokens: Tensor, layout: TokenLayout
) -> None:
    probe = build(name, layout, moving=0.5)
    shuffled = probe(batch_of(tokens[:, [2, 0, 3, 1]]))
    moved = (probe(batch_of(tokens)) - shuffled).abs().max()
    assert bool(moved > 1e-4) is methods().get(name).order_aware


@pytest.mark.parametrize("name", ["linear", "step", "attentive-deep"])
def test_of_a_clip_in_which_nothing_moves_every_patch_is_read(
    name: str, tokens: Tensor, layout: TokenLayout
) -> None:
    three = replace(layout, frames=3)
    still = batch_of(tokens[:, :1].expand(-1, 3, -1, -1, -1))
    torch.testing.assert_close(
        build(name, three, moving=0.25)(still), build(name, three)(still), rtol=1e-4, atol=1e-5
    )


@moving_method
def test_moving_needs_patches(name: str, layout: TokenLayout) -> None:
    with pytest.raises(UsageError, match="moving chooses among patch tokens"):
        build(name, layout, moving=0.5, tokens="cls")


@trained_method
@pytest.mark.parametrize("width", [None, 16])
def test_products_with_tokens_in_bfloat16(
    name: str, width: int | None, tokens: Tensor, layout: TokenLayout
) -> None:
    """Of every method, also where its tokens are projected to fewer channels first."""
    options = {"width": width} if "width" in methods().get(name).options.model_fields else {}
    probe = build(name, layout, **options if width else {})
    batch = batch_of(tokens)
    batch.precision = torch.bfloat16
    loss_of(probe, batch).backward()
    gradients = [p.grad for p in probe.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
