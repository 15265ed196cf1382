"""The passes of a read-out over the tokens: attention scores, gathering, and their gradients.

Four matrix products read the tokens: two forward, two backward. Between them lie scores that, in a
bank, are larger than the tokens themselves. So the work goes clip by clip: a clip's scores are
made, turned into weights and used while they are still in the cache.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from stepcli.probe.data.int8_tokens import CodedTokens, add_gathered, scores_along

CHUNK_VALUES = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Scores at once: few enough for the cache, many enough queries for fast products; on a GPU enough
to fill it."""
FEWEST_QUERIES = 96
"""Queries of a tile, at least: products of fewer rows wait for the tokens to be read."""
KEPT_BYTES = 1 << 30
"""Attention weights up to this size wait for the backward pass; larger ones are computed again."""


@dataclass(frozen=True, slots=True)
class Rows:
    """R rows of N tokens, a softmax each: clips, or single frames. What no gradient goes to.

    Tokens of a lower precision than the directions make the products with tokens that precise;
    everything between the products keeps the precision of the directions.
    """

    tokens: Tensor | CodedTokens
    """[R, N, D]; codes are made floats tile by tile."""
    frames: int
    """Frames of a row; N = frames * tokens of a frame."""
    missing: Tensor | None = None
    """[R, N], True where a token gets no attention."""
    survivors: Tensor | None = None
    """[R, Q, N], dropout on attention weights: False where a weight is dropped."""
    keep_rate: Tensor | None = None
    """[Q]: share of the weights that dropout keeps."""

    def tiles(self, queries: int, *, whole: bool) -> list[tuple[slice, slice]]:
        """Rows and queries to work on at once; `whole`: all queries of a row together."""
        rows, tokens, _ = self.tokens.shape
        most = CHUNK_VALUES.get(self.tokens.device.type, 1 << 26)
        height = max(1, most // (queries * tokens))
        width = queries if whole else min(queries, max(FEWEST_QUERIES, most // tokens))
        # Tiles of about one size: a last one of few queries would waste a product.
        width = -(-queries // -(-queries // width))
        return [
            (slice(row, min(row + height, rows)), slice(query, min(query + width, queries)))
            for row in range(0, rows, height)
            for query in range(0, queries, width)
        ]


class Gathered(NamedTuple):
    """What Q queries gathered from R rows."""

    total: Tensor
    """[R, Q, D]: the weighted sum of the tokens."""
    log_sum: Tensor
    """[R, Q]: log of the softmax's denominator."""
    by_place: Tensor
    """[R, Q, frames, P]: the sum of the weights that each entry of `shift` met; empty without."""
    share: Tensor
    """[R, Q]: the sum of the weights that dropout has left; empty without dropout."""


def gather(
    rows: Rows, directions: Tensor, shift: Tensor | None = None, scale: Tensor | None = None
) -> Gathered:
    """Attend with weights softmax((u.x_i + shift) * scale), which then are scaled once more.

    Args:
        rows: The tokens x.
        directions: u, [Q, D].
        shift: [C, Q, frames, P], with P = 1 or the tokens of a frame; row r takes entry r % C.
        scale: [R, G, N]; each of the G members' Q / G queries takes its member's.
    """
    if torch.compiler.is_compiling():
        return _gather_in_one(rows, directions, shift, scale)
    return Gathered(*_Gather.apply(rows, directions, shift, scale))  # type: ignore[no-untyped-call]


def _gather_in_one(
    rows: Rows, directions: Tensor, shift: Tensor | None, scale: Tensor | None
) -> Gathered:
    """The same without dropout in plain operations, for torch.export: no loop over the rows, whose
    number a graph does not know.
    """
    x = rows.tokens
    if not isinstance(x, Tensor):
        raise TypeError("a graph takes tokens as floats, not as codes")
    scores = directions.to(x.dtype) @ x.transpose(1, 2)
    places = () if shift is None else (shift.shape[2], x.shape[1] // shift.shape[2])
    if shift is not None:
        by_shift = scores.unflatten(0, (-1, len(shift))).unflatten(-1, places)  # type: ignore[no-untyped-call]
        scores = (by_shift + shift).flatten(-2).flatten(0, 1)
    factor = (
        None if scale is None else scale.repeat_interleave(len(directions) // scale.shape[1], 1)
    )
    if factor is not None:
        scores = scores * factor
    if rows.missing is not None:
        scores = scores.masked_fill(rows.missing[:, None], -torch.inf)
    weights = torch.softmax(scores, -1)
    used = weights if factor is None else weights * factor
    by_place = scores.new_empty(0)
    if shift is not None:
        by_place = used.unflatten(-1, places)  # type: ignore[no-untyped-call]
        by_place = by_place.sum(-1, keepdim=True) if shift.shape[3] == 1 else by_place
    return Gathered(used @ x, scores.logsumexp(-1), by_place, scores.new_empty(0))


class _Gather(Function):
    """Forward and backward by chunks of rows; gradients to directions, shift and scale."""

    @staticmethod
    def forward(
        ctx: Any, rows: Rows, directions: Tensor, shift: Tensor | None, scale: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count, tokens, dim = rows.tokens.shape
        queries = len(directions)
        total = directions.new_empty(count, queries, dim)
        log_sum = directions.new_empty(count, queries)
        by_place = directions.new_empty(0 if shift is None else count, *_place_shape(shift))
        share = directions.new_empty(0 if rows.survivors is None else count, queries)
        values = count * queries * tokens
        keeps = scale is None and values * directions.element_size() <= KEPT_BYTES
        saved = directions.new_empty(count if keeps else 0, queries, tokens)
        for part in rows.tiles(queries, whole=scale is not None):
            x = rows.tokens[part[0]]
            _, scores = _scores(rows, part, x, directions, shift, scale)
            weights = saved[part] if keeps else torch.empty_like(scores)
            torch._softmax(scores, -1, False, out=weights)
            # The largest weight is at least 1/N, so its logarithm is safe.
            log_sum[part] = scores.amax(-1) - weights.amax(-1).log()
            used = _dropped(rows, part, weights)
            if rows.survivors is not None:
                share[part] = used.sum(-1)
            used = _rescaled(used, part, scale)
            if shift is not None:
                by_place[part] = _by_place(used, shift)
            _gather_into(total[part], used, x)
        ctx.rows = rows
        ctx.save_for_backward(directions, shift, scale, total, log_sum, by_place, share, saved)
        return total, log_sum, by_place, share

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        grad_total: Tensor,
        grad_log_sum: Tensor,
        grad_by_place: Tensor,
        grad_share: Tensor,
    ) -> tuple[None, Tensor, Tensor | None, Tensor | None]:
        rows: Rows = ctx.rows
        directions, shift, scale, total, log_sum, by_place, share, saved = ctx.saved_tensors
        queries = len(directions)
        # Sum of each weight times its gradient, known without looking at a single weight.
        mean = -grad_log_sum
        if shift is not None:
            mean += (grad_by_place * by_place).sum((-2, -1))
        if rows.survivors is not None:
            mean += grad_share * share
        grad_directions = torch.zeros_like(directions)
        grad_shift = None if shift is None else torch.zeros_like(shift)
        grad_scale = None if scale is None else torch.empty_like(scale)
        for part in rows.tiles(queries, whole=scale is not None):
            x = rows.tokens[part[0]]
            if len(saved):
                raw, weights = None, saved[part]
            else:
                raw, scores = _scores(rows, part, x, directions, shift, scale)
                weights = scores.sub_(log_sum[part][..., None]).exp_()
            mean[part] += torch.linalg.vecdot(grad_total[part], total[part])
            grad = _along(grad_total[part], x)
            if shift is not None:
                _over_places(grad, shift).add_(grad_by_place[part])
            if grad_scale is not None:
                used = _dropped(rows, part, weights)
                grad_scale[part[0]] = _over_members(used * grad, grad_scale).sum(2)
                grad = _rescaled(grad, part, scale)
            if rows.survivors is not None:
                grad = _dropped(rows, part, grad.add_(grad_share[part][..., None]))
            grad.sub_(mean[part][..., None]).mul_(weights)
            if grad_scale is not None and raw is not None:
                grad_scale[part[0]] += _over_members(grad * raw, grad_scale).sum(2)
                grad = _rescaled(grad, part, scale)
            if grad_shift is not None and shift is not None:
                index = _periodic(part, shift)
                grad_shift[:, part[1]].index_add_(0, index, _by_place(grad, shift))
            _add_product(grad_directions[part[1]], grad, x)
        return None, grad_directions, grad_shift, grad_scale


def _scores(
    rows: Rows,
    part: tuple[slice, slice],
    x: Tensor | CodedTokens,
    directions: Tensor,
    shift: Tensor | None,
    scale: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """u.x + shift and, scaled and masked, what goes into the softmax: both [r, Q, N]."""
    u = directions[part[1]]
    if isinstance(x, Tensor):
        # Rounded once, not once a row.
        raw = _product(u.to(x.dtype).expand(len(x), -1, -1), x.transpose(1, 2), u.dtype)
    else:
        raw = scores_along(u.expand(len(x), -1, -1), x)
    if shift is not None:
        _over_places(raw, shift).add_(shift[:, part[1]][_periodic(part, shift)])
    scores = _rescaled(raw, part, scale)
    if rows.missing is not None:
        scores = scores.masked_fill(rows.missing[part[0]][:, None], -torch.inf)
    return raw, scores


def _product(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """[r, m, k] @ [r, k, n] computed in b's type, given in `dtype`."""
    a = a.to(b.dtype)
    # One clip at a time: torch.mm spreads a product over the threads, torch.bmm whole members.
    product = torch.bmm(a, b) if len(a) > 1 else torch.mm(a[0], b[0])[None]
    return product.to(dtype)


def _along(directions: Tensor, x: Tensor | CodedTokens) -> Tensor:
    """u.x for [r, Q, D] and tokens [r, N, D]: [r, Q, N]."""
    if isinstance(x, CodedTokens):
        return scores_along(directions, x)
    return _product(directions, x.transpose(1, 2), directions.dtype)


def _gather_into(total: Tensor, weights: Tensor, x: Tensor | CodedTokens) -> None:
    """Set total [r, Q, D] to the tokens' sums with weights [r, Q, N]."""
    if isinstance(x, CodedTokens):
        add_gathered(total.zero_(), weights, x)
    elif x.dtype == total.dtype and len(x) == 1:
        torch.mm(weights[0], x[0], out=total[0])
    else:
        total.copy_(_product(weights, x, total.dtype))


def _add_product(total: Tensor, a: Tensor, b: Tensor | CodedTokens) -> None:
    """Add sum_r a[r] @ b[r] to total [m, n]."""
    if isinstance(b, CodedTokens):
        add_gathered(total, a, b)
    elif len(a) > 1 or a.dtype != b.dtype:
        total += _product(a, b, total.dtype).sum(0)
    else:
        total.addmm_(a[0], b[0])


def _periodic(part: tuple[slice, slice], shift: Tensor) -> Tensor:
    """The entries of shift that a tile's rows take."""
    return torch.arange(part[0].start, part[0].stop, device=shift.device) % len(shift)


def _dropped(rows: Rows, part: tuple[slice, slice], weights: Tensor) -> Tensor:
    if rows.survivors is None or rows.keep_rate is None:
        return weights
    return (weights * rows.survivors[part]).div_(rows.keep_rate[part[1], None])


def _over_members(values: Tensor, scale: Tensor) -> Tensor:
    """[r, Q, N] as [r, G, Q / G, N]."""
    rows, queries, tokens = values.shape
    return values.view(rows, scale.shape[1], queries // scale.shape[1], tokens)


def _rescaled(values: Tensor, part: tuple[slice, slice], scale: Tensor | None) -> Tensor:
    if scale is None:
        return values
    return (_over_members(values, scale) * scale[part[0]][:, :, None]).view(values.shape)


def _place_shape(shift: Tensor | None) -> tuple[int, ...]:
    return (0,) if shift is None else tuple(shift.shape[1:])


def _over_places(values: Tensor, shift: Tensor) -> Tensor:
    """[r, Q, N] as [r, Q, frames, tokens of a frame]."""
    return values.view(*values.shape[:2], shift.shape[2], -1)


def _by_place(values: Tensor, shift: Tensor) -> Tensor:
    """Sums of [r, Q, N] over the tokens that share an entry of shift: [r, Q, frames, P]."""
    places = _over_places(values, shift)
    return places.sum(-1, keepdim=True) if shift.shape[3] == 1 else places
