"""What holds for every method in the registry; a new method gets these tests for free."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from stepcli.cache.schema.spec import Segment
from stepcli.probe.analysis.onnx_export import ANY_CLIPS, Plain, example_tokens, write_onnx
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.text import StoreText
from stepcli.probe.data.tokens import SampleFacts, TokenBatch
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.nn.bank import Probe, stack
from stepcli.probe.nn.layers import member_products
from stepcli.runtime.errors import UsageError

NAMES = methods().names()
TRAINED = [name for name in NAMES if name not in ("knn", "prototype", "vcs", "zero-shot")]
BY_TOKENS = [n for n in NAMES if "tokens" in methods().get(n).options.model_fields]
every_method = pytest.mark.parametrize("name", NAMES)
trained_method = pytest.mark.parametrize("name", TRAINED)
token_method = pytest.mark.parametrize("name", BY_TOKENS)

SMALL: dict[str, dict[str, object]] = {
    "temporal-transformer": {"width": 16, "heads": 2, "layers": 2},
    "rvm": {"width": 16},
    "lift": {"latent": 16, "heads": 2, "layers": 2},
    "trn": {"width": 16, "hidden": 16},
    "spectral": {"width": 16, "hidden": 16},
    "gru": {"hidden": 16},
    "lstm": {"hidden": 16},
}
"""Options that make a method cheap, for tests of what does not depend on them."""

CLASSES = tuple("abcdef")
CLS = Segment(name="cls", kind="prefix", count=1)
LAYERS = (-4, -3, -2, -1)


@pytest.fixture(scope="session")
def text(text_of: Callable[..., StoreText]) -> StoreText:
    """Texts of a tower of 16 channels whose images have tokens of 32."""
    return text_of(CLASSES, dim=16, vision_dim=32)


@pytest.fixture
def layout(text: StoreText) -> TokenLayout:
    """4 frames of a CLS and 3 x 3 patches with 32 channels, 4 layers, 6 classes, texts."""
    return rich_layout(text)


def rich_layout(text: StoreText, frames: int = 4, side: int = 3, classes: int = 6) -> TokenLayout:
    grid = Segment(name="grid", kind="grid", count=side * side, grid=(side, side))
    return TokenLayout(frames, 32, (CLS, grid), LAYERS, CLASSES[:classes], (text,))


@pytest.fixture
def tokens() -> Tensor:
    """5 clips of that layout, float32, with a mean and a spread as real tokens have."""
    return torch.randn(5, 4, 4, 10, 32, generator=Generator().manual_seed(7)) * 2 + 0.5


def batch_of(tokens: Tensor, mask: Tensor | None = None) -> TokenBatch:
    """A batch whose frames are a second apart."""
    seconds = torch.arange(tokens.shape[1], dtype=torch.float32).expand(len(tokens), -1)
    return TokenBatch(tokens, mask, facts=lambda: SampleFacts(seconds))


def build(
    name: str, layout: TokenLayout, classes: int = 6, seed: int = 0, **options: object
) -> Probe:
    """A probe of one member; where it has no gradients to follow, fitted to a few clips."""
    info = methods().get(name)
    chosen = parse_options(info, SMALL.get(name, {}) | options)
    probe = info.build(layout, classes, chosen, Generator().manual_seed(seed))
    if not probe.trained:
        shape = (2 * classes, layout.frames, len(layout.layers), layout.tokens, layout.dim)
        clips = torch.randn(shape, generator=Generator().manual_seed(99))
        probe.fit([(batch_of(clips), torch.arange(2 * classes) % classes)])
    return probe


def loss_of(probe: Probe, batch: TokenBatch) -> Tensor:
    """A number that everything trainable has a say in."""
    logits, own = probe.training_logits(batch)
    return logits.square().sum() if own is None else logits.square().sum() + own.sum()


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
        moved = (probe(batch_of(tokens)) - probe(batch_of(tokens.flip(1)))).abs().max()
        assert (moved > 1e-3) is not aware


def test_products_of_few_members_are_the_batched_ones_with_their_gradients() -> None:
    generator = Generator().manual_seed(0)
    weights = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(member_products(rows, weights), rows @ weights.transpose(1, 2))
    assert torch.autograd.gradcheck(member_products, (rows, weights))


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
