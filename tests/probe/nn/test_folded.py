"""The folded read-out against the textbook modules of torch, values and gradients."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from stepcli.probe.data.int8_tokens import CodedTokens
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.attentive import Attentive
from stepcli.probe.methods.registry import methods
from stepcli.probe.methods.self_attention import BlockOptions, SelfAttention
from stepcli.probe.methods.step import Step, StepOptions
from stepcli.probe.nn.attention import FoldedAttention
from stepcli.probe.nn.bank import stack
from stepcli.probe.nn.dropout import MemberDropout
from stepcli.probe.nn.encoding import TokenInput
from stepcli.probe.nn.folded import FoldedTokens, read_out
from stepcli.probe.nn.layers import normal
from stepcli.runtime.errors import UsageError


def textbook(folded: FoldedAttention) -> nn.MultiheadAttention:
    """nn.MultiheadAttention with the weights of the first member."""
    dim = folded.query.weight.shape[-1]
    module = nn.MultiheadAttention(
        dim, folded.heads, batch_first=True, dtype=folded.query.weight.dtype
    )
    with torch.no_grad():
        parts = (folded.query, folded.key, folded.value)
        module.in_proj_weight.copy_(torch.cat([part.weight[0] for part in parts]))
        module.in_proj_bias.copy_(torch.cat([part.bias[0] for part in parts]))
        if folded.out is None:
            module.out_proj.weight.copy_(torch.eye(dim))
            module.out_proj.bias.zero_()
        else:
            module.out_proj.weight.copy_(folded.out.weight[0])
            module.out_proj.bias.copy_(folded.out.bias[0])
    return module


def shake(module: nn.Module, seed: int) -> None:
    """Give every parameter, biases and norms too, a value that a mistake cannot hide behind."""
    generator = Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 4),
    frames=st.integers(1, 5),
    tokens=st.integers(1, 6),
    heads=st.integers(1, 4),
    width=st.integers(1, 8),
    norm=st.sampled_from(["tokens", "sum", "none"]),
    pe=st.sampled_from(["none", "learned", "sinusoidal"]),
    patch_pe=st.booleans(),
    prepend=st.booleans(),
    mask=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_equals_multihead_attention_on_random_shapes(
    batch: int,
    frames: int,
    tokens: int,
    heads: int,
    width: int,
    norm: str,
    pe: str,
    patch_pe: bool,
    prepend: bool,
    mask: bool,
    seed: int,
) -> None:
    generator = Generator().manual_seed(seed)
    dim = heads * width
    layout = TokenLayout.of(frames, tokens, dim)
    source = TokenInput(
        layout, generator, select="all", norm=norm, pe=pe, pe_scale=0.5, patch_pe=patch_pe
    ).double()
    folded = FoldedAttention(dim, heads, generator).double()
    shake(folded, seed)
    cls = nn.Parameter(torch.randn(1, dim, generator=generator, dtype=torch.float64))
    x = torch.randn(batch, frames, tokens, dim, generator=generator, dtype=torch.float64) * 3 + 1
    frame_mask = torch.rand(batch, frames, generator=generator) < 0.6 if mask else None
    if frame_mask is not None:
        frame_mask[:, 0] |= ~frame_mask.any(dim=1)
    token_batch = TokenBatch(x, frame_mask, torch.float64)
    probe_of = torch.randn(batch, dim, generator=generator, dtype=torch.float64)

    out = folded(source(token_batch), cls, prepended=cls if prepend else None)[0]
    leaves = [cls, *source.parameters(), folded.query.weight, folded.value.weight]
    got = torch.autograd.grad(
        (out * probe_of).sum(), [*leaves, folded.key.weight], allow_unused=True
    )

    module = textbook(folded)
    z = nn.functional.layer_norm(x, (dim,)) if norm == "tokens" else x
    if source.frame_encoding is not None:
        z = z + source.frame_encoding[0][None, :, None]
    if source.patch_encoding is not None:
        z = z + source.patch_encoding[0][None, None]
    z = nn.functional.layer_norm(z, (dim,)) if norm == "sum" else z
    sequence = z.flatten(1, 2)
    missing = None if frame_mask is None else ~frame_mask.repeat_interleave(tokens, dim=1)
    if prepend:
        sequence = torch.cat((cls.expand(batch, 1, dim), sequence), dim=1)
        if missing is not None:
            missing = torch.cat((torch.zeros(batch, 1, dtype=torch.bool), missing), dim=1)
    want, _ = module(
        cls.expand(batch, 1, dim), sequence, sequence, key_padding_mask=missing, need_weights=False
    )
    torch.testing.assert_close(out, want[:, 0], rtol=1e-9, atol=1e-9)
    want_grads = torch.autograd.grad(
        (want[:, 0] * probe_of).sum(),
        [cls, *source.parameters(), module.in_proj_weight],
        allow_unused=True,
    )
    for mine, theirs in zip(got[:-3], want_grads[:-1], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)
    query, key, value = want_grads[-1].chunk(3)
    for mine, theirs in zip(got[-3:], (query, value, key), strict=True):
        torch.testing.assert_close(mine[0], theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("norm", ["tokens", "sum", "none"])
def test_float32_values_within_1e_5_of_multihead_attention(norm: str) -> None:
    generator = Generator().manual_seed(3)
    layout = TokenLayout.of(8, 49, 384)
    source = TokenInput(
        layout, generator, select="all", norm=norm, pe="learned", pe_scale=0.3, patch_pe=False
    )
    folded = FoldedAttention(384, 6, generator)
    cls = normal(1.0, (384,), generator)
    batch = TokenBatch(torch.randn(4, 8, 49, 384, generator=generator))
    out = folded(source(batch), cls, prepended=cls)[0]
    z = source(batch).materialized().expand(1, -1, -1, -1, -1)[0].flatten(1, 2)
    sequence = torch.cat((cls.expand(4, 1, 384), z), dim=1)
    want, _ = textbook(folded)(sequence[:, :1], sequence, sequence, need_weights=False)
    torch.testing.assert_close(out, want[:, 0], rtol=0, atol=1e-5)


def test_norm_of_the_sum_survives_a_large_common_mean() -> None:
    """Mean 50 times the deviation: naive covariances lose 1e-3 here."""
    generator = Generator().manual_seed(5)
    layout = TokenLayout.of(4, 9, 64)
    source = TokenInput(
        layout, generator, select="all", norm="sum", pe="learned", pe_scale=0.5, patch_pe=False
    )
    x = torch.randn(2, 4, 9, 64, generator=generator) + 50
    got = source(TokenBatch(x)).materialized()[0]
    want = nn.functional.layer_norm(x.double() + source.frame_encoding[0][:, None].double(), (64,))
    torch.testing.assert_close(got, want.float(), rtol=0, atol=3e-5)


def encoder_layer(block: nn.Module, dim: int) -> nn.TransformerEncoderLayer:
    """torch's own pre-norm layer with a ReadBlock's weights."""
    layer = nn.TransformerEncoderLayer(
        dim,
        block.attention.heads,
        4 * dim,
        dropout=0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    layer.self_attn = textbook(block.attention)
    with torch.no_grad():
        for mine, theirs in ((block.norm1, layer.norm1), (block.norm2, layer.norm2)):
            theirs.weight.copy_(mine.weight[0])
            theirs.bias.copy_(mine.bias[0])
        for linear, up in ((layer.linear1, "up"), (layer.linear2, "down")):
            linear.weight.copy_(getattr(block.feed_forward, up).weight[0])
            linear.bias.copy_(getattr(block.feed_forward, up).bias[0])
    return layer


@pytest.mark.parametrize("pe", ["none", "learned"])
def test_self_attention_is_the_encoder_layers_cls_row(
    tokens: Tensor, layout: TokenLayout, pe: str
) -> None:
    probe = SelfAttention(layout, 4, BlockOptions(heads=4, pe=pe), Generator().manual_seed(1))
    shake(probe, 2)
    batch = TokenBatch(tokens)
    z = probe.input(batch).materialized()[0].flatten(1, 2)
    sequence = torch.cat((probe.cls.expand(len(z), 1, 32), z), dim=1)
    row = encoder_layer(probe.block, 32)(sequence)[:, 0]
    want = row @ probe.head.weight[0].T + probe.head.bias[0]
    torch.testing.assert_close(probe(batch)[0], want, rtol=1e-5, atol=2e-5)


def test_step_with_a_full_block_is_self_attention_with_an_encoding(
    tokens: Tensor, layout: TokenLayout
) -> None:
    step = Step(layout, 4, StepOptions(heads=4, block="full"), Generator().manual_seed(1))
    other = SelfAttention(
        layout, 4, BlockOptions(heads=4, pe="learned"), Generator().manual_seed(1)
    )
    state = {k.replace("block.", "reader."): v for k, v in other.state_dict().items()}
    step.load_state_dict(state)
    torch.testing.assert_close(step(TokenBatch(tokens)), other(TokenBatch(tokens)))


@pytest.mark.parametrize("pe", ["none", "learned"])
def test_attentive_is_vjepas_cross_attention_block(
    tokens: Tensor, layout: TokenLayout, pe: str
) -> None:
    probe = Attentive(layout, 4, BlockOptions(heads=4, pe=pe), Generator().manual_seed(1))
    shake(probe, 2)
    batch = TokenBatch(tokens)
    z = probe.input(batch).materialized()[0].flatten(1, 2)
    block = probe.block
    z = nn.functional.layer_norm(z, (32,)) * block.norm1.weight[0] + block.norm1.bias[0]
    query = probe.cls.expand(len(z), 1, 32)
    row = query + textbook(block.attention)(query, z, z, need_weights=False)[0]
    row = row.transpose(0, 1)
    row = row + block.feed_forward(block.norm2(row))
    want = row[0] @ probe.head.weight[0].T + probe.head.bias[0]
    torch.testing.assert_close(probe(batch)[0], want, rtol=1e-5, atol=2e-5)


def test_per_frame_cls_reads_each_frame_alone(tokens: Tensor, layout: TokenLayout) -> None:
    probe = Step(layout, 4, StepOptions(heads=4, cls="per-frame"), Generator().manual_seed(1))
    shake(probe, 2)
    batch = TokenBatch(tokens)
    z = probe.input(batch).materialized()[0]
    rows = []
    for frame in range(4):
        sequence = torch.cat((probe.cls.expand(len(z), 1, 32), z[:, frame]), dim=1)
        rows.append(
            textbook(probe.reader)(sequence[:, :1], sequence, sequence, need_weights=False)[0]
        )
    row = torch.cat(rows, dim=1).mean(dim=1)
    want = row @ probe.head.weight[0].T + probe.head.bias[0]
    torch.testing.assert_close(probe(batch)[0], want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("step", {"norm": "tokens"}),
        ("step", {"norm": "sum", "cls": "per-frame"}),
        ("efficient", {"pe": "learned"}),
    ],
)
def test_members_of_a_bank_read_out_what_each_would_alone(
    name: str, options: dict[str, object], tokens: Tensor, layout: TokenLayout
) -> None:
    """Three members, five clips, two heads: no two of these can be confused with each other."""
    info = methods().get(name)
    chosen = info.options(heads=2, **options)
    alone = [info.build(layout, 4, chosen, Generator().manual_seed(seed)) for seed in range(3)]
    for seed, probe in enumerate(alone):
        shake(probe, 10 + seed)
    mask = torch.ones(5, 4, dtype=torch.bool)
    mask[2, 1:] = False
    batch = TokenBatch(tokens, mask)
    want = torch.cat([probe(batch) for probe in alone])
    torch.testing.assert_close(stack(alone)(batch), want, rtol=1e-5, atol=1e-5)


def test_another_precision_is_that_of_the_tokens_alone() -> None:
    z = FoldedTokens(torch.randn(2, 3, 4, 8), torch.randn(1, 3, 1, 8), torch.rand(1, 2, 3, 4))
    low = z.to(torch.bfloat16)
    assert torch.equal(low.tokens, z.tokens.bfloat16())
    assert (low.offsets, low.scale) == (z.offsets, z.scale)
    assert low.to(torch.bfloat16) is low
    codes = CodedTokens(torch.ones(2, 3, 4, 8, dtype=torch.int8), torch.ones(2, 3, 4))
    coded = replace(z, tokens=codes)
    assert coded.to(torch.bfloat16) is coded


def test_heads_that_do_not_divide_are_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError, match=r"heads=5 does not divide .* use one of \[1, 2, 4, 8"):
        FoldedAttention(32, 5, Generator())


@pytest.mark.parametrize(("name", "count"), [("step", 2_401_570), ("self-attention", 7_114_786)])
def test_parameter_counts_of_the_paper(name: str, count: int) -> None:
    info = methods().get(name)
    probe = info.build(TokenLayout.of(16, 256, 768), 34, info.options(), Generator())
    assert sum(p.numel() for p in probe.parameters()) == count
    assert probe.parameters_each == count


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("cls_score", [False, True])
@pytest.mark.parametrize(("places", "scaled"), [(0, False), (1, False), (1, True), (3, True)])
@pytest.mark.parametrize("per_frame", [False, True])
def test_what_is_read_out_is_each_members_softmax_by_hand(
    per_frame: bool, places: int, scaled: bool, cls_score: bool, dropped: bool
) -> None:
    """Two members, five heads, four clips of two frames of three tokens: no size twice."""
    members, heads, clips, frames, tokens, dim = 2, 5, 4, 2, 3, 6
    generator = Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x = drawn(clips, frames, tokens, dim)
    offsets = drawn(members, frames, places, dim) if places else None
    scale = drawn(members, clips, frames, tokens).exp() if scaled else None
    mask = torch.tensor([[True, False], [True, True], [False, True], [True, True]])
    directions, against = drawn(members, heads, dim), drawn(members, heads) if cls_score else None
    dropout = MemberDropout((0.4, 0.2), (1, 2), 3) if dropped else None
    z = FoldedTokens(x, offsets, scale, mask)
    got = read_out(z, directions, against, per_frame=per_frame, dropout=dropout)

    written = x.expand(members, -1, -1, -1, -1)
    written = written if offsets is None else written + offsets[:, None]
    written = written if scale is None else written * scale[..., None]
    written = written.flatten(1, 2) if per_frame else written.flatten(2, 3)
    scores = torch.einsum("khd,krnd->krhn", directions, written)
    if not per_frame:
        missing = ~mask.repeat_interleave(tokens, dim=1)
        scores = scores.masked_fill(missing[None, :, None], -torch.inf)
    first = torch.full_like(scores[..., :1], -torch.inf)
    if against is not None:
        first = against[:, None, :, None].expand_as(first)
    weights = torch.softmax(torch.cat((first, scores), -1), -1)
    left = weights
    if dropout is not None:
        left = weights * dropout.draw(tuple(weights.shape[1:]))
        left = left / (1 - torch.tensor(dropout.rates))[:, None, None, None]

    def by_member(values: Tensor) -> Tensor:
        """[R, K * H] as [K, R, H]."""
        return values.view(-1, members, heads).transpose(0, 1)

    want = torch.einsum("krhn,krnd->krhd", left[..., 1:], written)
    torch.testing.assert_close(got.total(z, members), want)
    torch.testing.assert_close(by_member(got.attention_mass), weights[..., 1:].sum(-1))
    torch.testing.assert_close(by_member(got.cls_share), left[..., 0])
    if dropped:
        assert got.survivors is not None
        torch.testing.assert_close(
            by_member(got.attention_mass * got.survivors), left[..., 1:].sum(-1)
        )
    else:
        assert got.survivors is None
