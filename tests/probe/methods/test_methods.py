"""What holds for every method in the registry; a new method gets these tests for free."""

import warnings
from pathlib import Path

import pytest
import torch
from every_method import (
    SMALL,
    TRAINED,
    batch_of,
    build,
    every_method,
    loss_of,
    rich_layout,
    rich_tokens,
    trained_method,
)
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from stepcli.probe.analysis.onnx_export import ANY_CLIPS, Plain, example_tokens, write_onnx
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.text import StoreText
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.nn.bank import stack
from stepcli.probe.nn.layers import member_products
from stepcli.runtime.errors import UsageError


@pytest.fixture
def layout(text: StoreText) -> TokenLayout:
    """4 frames of a CLS and 3 x 3 patches with 32 channels, 4 layers, 6 classes, texts."""
    return rich_layout(text)


@pytest.fixture
def tokens() -> Tensor:
    """5 clips of that layout."""
    return rich_tokens()


@every_method
def test_logits_have_one_row_a_member_and_clip(
    name: str, tokens: Tensor, layout: TokenLayout
) -> None:
    probe = build(name, layout)
    assert probe.trained is (name in TRAINED)
    logits = probe(batch_of(tokens))
    assert logits.shape == (1, 5, 6)
    assert bool(logits.isfinite().all())


@pytest.mark.parametrize(
    "name", ["concat-lowrank", "duration", "first-frame", "gru", "temporal-transformer"]
)
def test_the_graph_takes_any_number_of_clips(name: str, layout: TokenLayout) -> None:
    """One of each way to compute, since tracing takes seconds; make onnx-check does all methods."""
    module = Plain(build(name, layout)).eval()
    if name == "duration":  # reads the times of frames, which are no tokens
        with pytest.raises(UsageError, match="cannot be written as ONNX"):
            write_onnx(module.probe, layout, name, Path("nowhere"))
        return
    with torch.no_grad(), warnings.catch_warnings():
        # PyTorch's own deprecations, among its parts.
        warnings.simplefilter("ignore")
        two = example_tokens(layout, 2)
        program = torch.export.export(module, (two,), dynamic_shapes=ANY_CLIPS, strict=False)
        five = example_tokens(layout, 5)
        assert torch.allclose(program.module()(five), module(five), atol=1e-5)


@trained_method
def test_every_parameter_gets_a_gradient(name: str, tokens: Tensor, layout: TokenLayout) -> None:
    probe = build(name, layout)
    loss_of(probe, batch_of(tokens)).backward()
    idle = {n for n, p in probe.named_parameters() if p.grad is None or not bool(p.grad.any())}
    # The key bias moves no score of a softmax against another: its gradient is zero in any form.
    assert {n for n in idle if not n.endswith("key.bias") and not n.endswith("key.weight")} == set()


@every_method
def test_one_seed_gives_one_probe_and_another_seed_another(
    name: str, tokens: Tensor, layout: TokenLayout
) -> None:
    first, again, other = (build(name, layout, seed=s)(batch_of(tokens)) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert torch.allclose(first, other) is (name not in TRAINED)


@every_method
def test_saved_and_loaded_it_is_the_same(
    name: str, tokens: Tensor, layout: TokenLayout, tmp_path: Path
) -> None:
    probe = build(name, layout, seed=1)
    save_file(probe.state_dict(), tmp_path / "probe.safetensors")
    info = methods().get(name)
    options = parse_options(info, SMALL.get(name, {}))
    other = info.build(layout, 6, options, Generator().manual_seed(2))
    other.load_state_dict(load_file(tmp_path / "probe.safetensors"))
    assert torch.equal(probe(batch_of(tokens)), other(batch_of(tokens)))


@every_method
def test_order_matters_exactly_where_it_is_declared(
    name: str, tokens: Tensor, layout: TokenLayout
) -> None:
    probe = build(name, layout)
    shuffled = tokens[:, [2, 0, 3, 1]]
    moved = (probe(batch_of(tokens)) - probe(batch_of(shuffled))).abs().max()
    if methods().get(name).order_aware:
        assert moved > 1e-4
    else:
        assert moved < 1e-5


@every_method
def test_a_bank_computes_what_its_members_compute_alone(
    name: str, tokens: Tensor, layout: TokenLayout
) -> None:
    members = [build(name, layout, seed=seed) for seed in range(3)]
    bank = stack(members)
    assert bank.members == 3
    logits = bank(batch_of(tokens))
    for index, probe in enumerate(members):
        alone = probe(batch_of(tokens))[0]
        torch.testing.assert_close(logits[index], alone, rtol=1e-5, atol=1e-5)
        assert torch.equal(bank.member(index)(batch_of(tokens))[0], alone)


@trained_method
def test_a_members_gradient_is_its_own(name: str, tokens: Tensor, layout: TokenLayout) -> None:
    members = [build(name, layout, seed=seed) for seed in range(2)]
    bank = stack(members)
    loss_of(bank, batch_of(tokens)).backward()
    loss_of(members[1], batch_of(tokens)).backward()
    for (parameter, mine), alone in zip(
        bank.named_parameters(), members[1].parameters(), strict=True
    ):
        if alone.grad is None:
            assert mine.grad is None, parameter
        else:
            torch.testing.assert_close(mine.grad[1:], alone.grad, rtol=1e-4, atol=2e-5)


@trained_method
def test_tokens_are_only_read(name: str, tokens: Tensor, layout: TokenLayout) -> None:
    before = tokens.clone()
    loss_of(build(name, layout), batch_of(tokens)).backward()
    assert torch.equal(tokens, before)
    assert tokens.grad is None


@every_method
def test_smallest_shapes(name: str, text: StoreText) -> None:
    """One clip, one frame, one patch, one class."""
    layout = rich_layout(text, frames=1, side=1, classes=1)
    probe = build(name, layout, classes=1)
    clip = torch.randn(1, 1, 4, 2, 32, generator=Generator().manual_seed(0))
    logits = probe(batch_of(clip))
    assert logits.shape == (1, 1, 1)
    assert bool(logits.isfinite().all())
    if probe.trained:
        loss_of(probe, batch_of(clip)).backward()


@every_method
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 5e-3), (torch.bfloat16, 5e-2)])
def test_half_precision_tokens_give_almost_the_same(
    name: str, dtype: torch.dtype, tolerance: float, tokens: Tensor, layout: TokenLayout
) -> None:
    probe = build(name, layout)
    half, full = probe(batch_of(tokens.to(dtype))), probe(batch_of(tokens))
    torch.testing.assert_close(half, full, rtol=tolerance, atol=tolerance)


@every_method
def test_a_missing_frame_is_not_there(name: str, tokens: Tensor, layout: TokenLayout) -> None:
    """Whatever stands in a masked frame, the logits do not see it."""
    probe = build(name, layout)
    mask = torch.ones(5, 4, dtype=torch.bool)
    mask[0, 3] = mask[1, 0] = mask[2, 2] = False
    other = tokens.clone()
    other[~mask] = 100.0 * torch.randn(3, 4, 10, 32, generator=Generator().manual_seed(9))
    torch.testing.assert_close(probe(batch_of(tokens, mask)), probe(batch_of(other, mask)))
    if name != "duration":
        assert not torch.allclose(probe(batch_of(tokens)), probe(batch_of(other)), atol=1e-4)


def test_members_that_differ_only_at_the_start_stack(layout: TokenLayout) -> None:
    bank = stack([build("step", layout, pe_scale=scale) for scale in (0.1, 1.0)])
    ratio = bank.get_parameter("input.frame_encoding").std(dim=(1, 2))
    torch.testing.assert_close(ratio[1] / ratio[0], torch.tensor(10.0))


def test_members_of_other_structure_do_not_stack(layout: TokenLayout) -> None:
    with pytest.raises(ValueError, match="cannot stack"):
        stack([build("step", layout), build("step", layout, heads=4)])
    with pytest.raises(ValueError, match="cannot stack"):
        stack([build("first-frame", layout), build("last-frame", layout)])


def test_products_of_few_members_are_the_batched_ones_with_their_gradients() -> None:
    generator = Generator().manual_seed(0)
    weights = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(member_products(rows, weights), rows @ weights.transpose(1, 2))
    assert torch.autograd.gradcheck(member_products, (rows, weights))
