"""The four passes against the same written plainly, values and gradients, in chunks or at once."""

import pytest
import torch
from torch import Generator, Tensor

from stepcli.probe.nn import attention_kernels as passes
from stepcli.probe.nn.attention_kernels import Gathered, Rows, gather


def plainly(rows: Rows, directions: Tensor, shift: Tensor | None, scale: Tensor | None) -> Gathered:
    count, tokens, _ = rows.tokens.shape
    queries = len(directions)
    places = torch.zeros(1, queries, 1, 1) if shift is None else shift
    repeats = tokens // (places.shape[2] * places.shape[3])
    shifts = places.repeat_interleave(repeats, dim=3).flatten(2)[torch.arange(count) % len(places)]
    scores = rows.tokens @ directions.T
    each = torch.ones(count, 1, tokens) if scale is None else scale
    factor = each.repeat_interleave(queries // each.shape[1], dim=1)
    scores = (scores.transpose(1, 2) + shifts) * factor
    if rows.missing is not None:
        scores = scores.masked_fill(rows.missing[:, None], -torch.inf)
    weights = scores.softmax(-1)
    share = weights.new_empty(0, queries)
    if rows.survivors is not None and rows.keep_rate is not None:
        weights = weights * rows.survivors / rows.keep_rate[:, None]
        share = weights.sum(-1)
    weights = weights * factor
    by_place = weights.new_empty(0, 0)
    if shift is not None:
        by_place = weights.unflatten(2, (shift.shape[2], -1))
        by_place = by_place.sum(-1, keepdim=True) if shift.shape[3] == 1 else by_place
    return Gathered(weights @ rows.tokens, scores.logsumexp(-1), by_place, share)


@pytest.mark.parametrize("chunk", [1, 1 << 20], ids=["clip by clip", "at once"])
@pytest.mark.parametrize("kept_bytes", [0, 1 << 30], ids=["computed again", "kept"])
@pytest.mark.parametrize(
    ("period", "places", "scaled", "masked", "dropped"),
    [
        (0, 0, False, False, False),
        (1, 1, False, True, False),
        (1, 3, False, False, True),
        (2, 1, True, False, False),
        (1, 3, True, True, True),
    ],
)
def test_values_and_gradients(
    chunk: int,
    kept_bytes: int,
    period: int,
    places: int,
    scaled: bool,
    masked: bool,
    dropped: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(passes.CHUNK_VALUES, "cpu", chunk)
    monkeypatch.setattr(passes, "FEWEST_QUERIES", 4)
    monkeypatch.setattr(passes, "KEPT_BYTES", kept_bytes)
    generator = Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    count, frames, tokens, dim, members, queries = 4, 2, 3, 5, 2, 6
    missing = torch.rand(count, frames * tokens, generator=generator) < 0.4
    missing[:, 0] = False
    rows = Rows(
        draw(count, frames * tokens, dim).detach(),
        frames,
        missing if masked else None,
        torch.rand(count, queries, frames * tokens, generator=generator) < 0.7 if dropped else None,
        torch.linspace(0.5, 1, queries, dtype=torch.float64) if dropped else None,
    )
    directions = draw(queries, dim)
    shift = draw(period, queries, frames, places) if period else None
    scale = draw(count, members, frames * tokens) if scaled else None
    leaves = [leaf for leaf in (directions, shift, scale) if leaf is not None]
    got, want = gather(rows, directions, shift, scale), plainly(rows, directions, shift, scale)
    sides = []
    for values in (got, want):
        loss = sum(
            (value * torch.linspace(-1, 2, value.numel()).view(value.shape)).sum()
            for value in values
            if value.numel()
        )
        assert isinstance(loss, Tensor)
        sides.append(torch.autograd.grad(loss, leaves))
    for mine, theirs in zip(got, want, strict=True):
        if theirs.numel():
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    for mine, theirs in zip(*sides, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_scores_far_apart_survive() -> None:
    tokens = torch.tensor([[[-1e4], [0.0], [300.0]]])
    got = gather(Rows(tokens, 1), torch.ones(1, 1))
    torch.testing.assert_close(got.total, torch.tensor([[[300.0]]]))
    torch.testing.assert_close(got.log_sum, torch.tensor([[300.0]]))


def test_low_precision_is_that_of_the_products_alone() -> None:
    generator = Generator().manual_seed(0)
    tokens = torch.randn(3, 40, 16, generator=generator)
    directions = torch.randn(6, 16, generator=generator)
    want = gather(Rows(tokens, 1), directions)
    got = gather(Rows(tokens.bfloat16(), 1), directions)
    assert got.total.dtype == got.log_sum.dtype == torch.float32
    torch.testing.assert_close(got.log_sum, want.log_sum, rtol=0, atol=0.05)
    torch.testing.assert_close(got.total, want.total, rtol=0, atol=0.2)
