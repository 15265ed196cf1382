"""What holds for every method in the registry; a new method gets these tests for free."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from stepcli.cache.errors import UnknownName, UsageError
from stepcli.cache.spec import Segment
from stepcli.probe.bank import Probe, stack
from stepcli.probe.layers import few_products
from stepcli.probe.methods.frames_linear import cosines
from stepcli.probe.registry import ProbeInfo, Registry, methods, parse_options
from stepcli.probe.tokens import TokenBatch, TokenLayout

NAMES = methods().names()
every_method = pytest.mark.parametrize("name", NAMES)


def build(
    name: str, layout: TokenLayout, classes: int = 6, seed: int = 0, **options: object
) -> Probe:
    info = methods().get(name)
    return info.build(layout, classes, parse_options(info, options), Generator().manual_seed(seed))


@every_method
def test_logits_have_one_row_a_member_and_clip(
    name: str, tokens: Tensor, layout: TokenLayout
) -> None:
    logits = build(name, layout)(TokenBatch(tokens))
    assert logits.shape == (1, 5, 6)
    assert bool(logits.isfinite().all())


@every_method
def test_every_parameter_gets_a_gradient(name: str, tokens: Tensor, layout: TokenLayout) -> None:
    probe = build(name, layout)
    probe(TokenBatch(tokens)).square().sum().backward()
    idle = {n for n, p in probe.named_parameters() if p.grad is None or not bool(p.grad.any())}
    # The key bias moves no score of a softmax against another: its gradient is zero in any form.
    assert {n for n in idle if not n.endswith("key.bias") and not n.endswith("key.weight")} == set()


@every_method
def test_one_seed_gives_one_probe_and_another_seed_another(
    name: str, tokens: Tensor, layout: TokenLayout
) -> None:
    first, again, other = (build(name, layout, seed=s)(TokenBatch(tokens)) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@every_method
def test_saved_and_loaded_it_is_the_same(
    name: str, tokens: Tensor, layout: TokenLayout, tmp_path: Path
) -> None:
    probe = build(name, layout, seed=1)
    save_file(probe.state_dict(), tmp_path / "probe.safetensors")
    other = build(name, layout, seed=2)
    other.load_state_dict(load_file(tmp_path / "probe.safetensors"))
    assert torch.equal(probe(TokenBatch(tokens)), other(TokenBatch(tokens)))


@every_method
def test_order_matters_exactly_where_it_is_declared(
    name: str, tokens: Tensor, layout: TokenLayout
) -> None:
    probe = build(name, layout)
    shuffled = tokens[:, [2, 0, 3, 1]]
    moved = (probe(TokenBatch(tokens)) - probe(TokenBatch(shuffled))).abs().max()
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
    logits = bank(TokenBatch(tokens))
    for index, probe in enumerate(members):
        alone = probe(TokenBatch(tokens))[0]
        torch.testing.assert_close(logits[index], alone, rtol=1e-5, atol=1e-5)
        assert torch.equal(bank.member(index)(TokenBatch(tokens))[0], alone)


@every_method
def test_a_members_gradient_is_its_own(name: str, tokens: Tensor, layout: TokenLayout) -> None:
    members = [build(name, layout, seed=seed) for seed in range(2)]
    bank = stack(members)
    bank(TokenBatch(tokens)).square().sum().backward()
    members[1](TokenBatch(tokens)).square().sum().backward()
    for (parameter, mine), alone in zip(
        bank.named_parameters(), members[1].parameters(), strict=True
    ):
        if alone.grad is None:
            assert mine.grad is None, parameter
        else:
            torch.testing.assert_close(mine.grad[1:], alone.grad, rtol=1e-4, atol=1e-5)


@every_method
def test_tokens_are_only_read(name: str, tokens: Tensor, layout: TokenLayout) -> None:
    before = tokens.clone()
    probe = build(name, layout)
    probe(TokenBatch(tokens)).sum().backward()
    assert torch.equal(tokens, before)
    assert tokens.grad is None


@every_method
def test_smallest_shapes(name: str) -> None:
    """One clip, one frame, one token, one class."""
    layout = TokenLayout.of(frames=1, tokens=1, dim=16)
    probe = build(name, layout, classes=1)
    logits = probe(TokenBatch(torch.randn(1, 1, 1, 16, generator=Generator().manual_seed(0))))
    assert logits.shape == (1, 1, 1)
    logits.sum().backward()


@every_method
def test_half_precision_tokens_give_almost_the_same(
    name: str, tokens: Tensor, layout: TokenLayout
) -> None:
    probe = build(name, layout)
    half, full = probe(TokenBatch(tokens.half())), probe(TokenBatch(tokens))
    torch.testing.assert_close(half, full, rtol=0, atol=5e-3)


@every_method
def test_a_missing_frame_is_not_there(name: str, tokens: Tensor, layout: TokenLayout) -> None:
    """Whatever stands in a masked frame, the logits do not see it."""
    probe = build(name, layout)
    mask = torch.ones(5, 4, dtype=torch.bool)
    mask[0, 3] = mask[1, 0] = False
    other = tokens.clone()
    other[~mask] = 100.0 * torch.randn(2, 3, 32, generator=Generator().manual_seed(9))
    torch.testing.assert_close(probe(TokenBatch(tokens, mask)), probe(TokenBatch(other, mask)))


@every_method
@pytest.mark.parametrize("select", ["all", "patches", "cls"])
def test_reads_the_tokens_that_are_asked_for(name: str, select: str, tokens: Tensor) -> None:
    segments = (
        Segment(name="cls", kind="prefix", count=1),
        Segment(name="grid1", kind="grid", count=2, grid=(1, 2)),
    )
    layout = TokenLayout(4, 32, segments)
    probe = build(name, layout, tokens=select)
    unread = {"all": [], "patches": [0], "cls": [1, 2]}[select]
    other = tokens.clone()
    other[:, :, unread] += 1.0 + torch.arange(32)
    torch.testing.assert_close(probe(TokenBatch(other)), probe(TokenBatch(tokens)))
    for position in {0, 1, 2} - set(unread):
        other = tokens.clone()
        other[:, :, position] += torch.linspace(-3, 3, 32)
        assert not torch.allclose(probe(TokenBatch(other)), probe(TokenBatch(tokens)), atol=1e-4)


@every_method
def test_tokens_that_the_store_lacks_are_named(name: str, layout: TokenLayout) -> None:
    with pytest.raises(UsageError, match="extract with --tokens cls"):
        build(name, layout, tokens="cls")


def test_members_that_differ_only_at_the_start_stack(layout: TokenLayout) -> None:
    bank = stack([build("step", layout, pe_scale=scale) for scale in (0.1, 1.0)])
    ratio = bank.get_parameter("input.frame_encoding").std(dim=(1, 2))
    torch.testing.assert_close(ratio[1] / ratio[0], torch.tensor(10.0))


def test_members_of_other_structure_do_not_stack(layout: TokenLayout) -> None:
    with pytest.raises(ValueError, match="cannot stack"):
        stack([build("step", layout), build("step", layout, heads=4)])
    with pytest.raises(ValueError, match="cannot stack"):
        stack([build("first-frame", layout), build("last-frame", layout)])


@pytest.mark.parametrize(("name", "aware"), [("attentive", False), ("self-attention", False)])
def test_an_encoding_makes_any_token_probe_order_aware(
    name: str, aware: bool, tokens: Tensor, layout: TokenLayout
) -> None:
    for pe in ("learned", "sinusoidal"):
        probe = build(name, layout, pe=pe, pe_scale=1.0)
        with torch.no_grad():
            probe.get_parameter("cls").mul_(100)
        moved = (probe(TokenBatch(tokens)) - probe(TokenBatch(tokens.flip(1)))).abs().max()
        assert (moved > 1e-3) is not aware


def test_unknown_names_list_close_ones() -> None:
    with pytest.raises(UnknownName, match="unknown method 'stepp'; did you mean step"):
        methods().get("stepp")
    with pytest.raises(UnknownName, match="option of method step 'head'; did you mean heads"):
        parse_options(methods().get("step"), {"head": "4"})


def test_values_that_do_not_fit_are_explained() -> None:
    step = methods().get("step")
    assert parse_options(step, {"heads": "4", "patch_pe": "true"}).model_dump()["heads"] == 4
    for name, value in (("heads", "four"), ("pe", "learnt"), ("pe_scale", "nan")):
        with pytest.raises(UsageError, match=f"method step: option {name}='{value}'"):
            parse_options(step, {name: value})


def test_a_second_method_of_one_name_is_refused() -> None:
    registry = Registry()
    info = methods().get("linear")
    registry.add(info)
    with pytest.raises(ValueError, match="'linear' is registered already"):
        registry.add(ProbeInfo("linear", info.build, info.options, "", order_aware=False))


def test_recurrent_heads_are_torchs(tokens: Tensor, layout: TokenLayout) -> None:
    for name, textbook in (("gru", torch.nn.GRU), ("lstm", torch.nn.LSTM)):
        probe = build(name, layout, hidden=8)
        cell = textbook(32, 8, batch_first=True)
        with torch.no_grad():
            cell.weight_ih_l0.copy_(probe.get_parameter("from_input.weight")[0])
            cell.bias_ih_l0.copy_(probe.get_parameter("from_input.bias")[0])
            cell.weight_hh_l0.copy_(probe.get_parameter("from_state.weight")[0])
            cell.bias_hh_l0.copy_(probe.get_parameter("from_state.bias")[0])
        batch = TokenBatch(tokens)
        states, _ = cell(batch.frame_means(layout, "all", normalized=True))
        weight, bias = (probe.get_parameter(f"head.{part}")[0] for part in ("weight", "bias"))
        want = states[:, -1] @ weight.T + bias
        torch.testing.assert_close(probe(batch)[0], want, rtol=1e-5, atol=1e-6)


def test_cosine_coefficients_are_orthonormal_and_begin_with_the_mean() -> None:
    rows = cosines(5, 8)
    torch.testing.assert_close(rows @ rows.T, torch.eye(5), rtol=0, atol=1e-6)
    torch.testing.assert_close(rows[0], torch.full((8,), 8**-0.5))
    assert not cosines(3, 1)[1:].any()


def test_halves_are_halves_of_what_is_there(tokens: Tensor, layout: TokenLayout) -> None:
    """Three frames of four: the middle one is in both halves."""
    probe = build("early-late", layout)
    mask = torch.tensor([[True, False, True, True]] * 5)
    frames = TokenBatch(tokens).frame_means(layout, "all", normalized=True)
    halves = torch.cat((frames[:, [0, 2]].mean(dim=1), frames[:, [2, 3]].mean(dim=1)), dim=1)
    weight, bias = (probe.get_parameter(f"head.{part}")[0] for part in ("weight", "bias"))
    torch.testing.assert_close(probe(TokenBatch(tokens, mask))[0], halves @ weight.T + bias)


def test_products_of_few_members_are_the_batched_ones_with_their_gradients() -> None:
    generator = Generator().manual_seed(0)
    weights = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    columns = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(few_products(weights, columns), torch.bmm(weights, columns))
    assert torch.autograd.gradcheck(few_products, (weights, columns))
