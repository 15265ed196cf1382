"""Tokens kept as int8, made floats tile by tile: no float copy is larger than one tile.

A stored token is x = s k, k its int8 codes and s its scale (int8-channel: x = s k * c, c a scale a
channel and clip). A LayerNorm without learned parameters is (x - m) r with m and r numbers a token.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from stepcli.probe.data.selection import take_tokens

TILE_BYTES = 4 << 20
"""Floats at once: about a core's share of the cache."""


@dataclass(frozen=True, slots=True)
class CodedTokens:
    """B clips' tokens [B, T, S, D], or the same as rows [R, N, D], as codes."""

    codes: Tensor
    """int8, [..., D]"""
    scales: Tensor
    """[...]: of each token."""
    channels: Tensor | None = None
    """[B, D] or [R, D]: of each channel of a clip."""
    mean: Tensor | None = None
    """[...]: taken from a token's channels."""
    inverse: Tensor | None = None
    """[...]: then multiplied with them; a LayerNorm's 1 / deviation."""
    dtype: torch.dtype = torch.float32
    """Of the tiles."""

    @property
    def shape(self) -> torch.Size:
        """As of the floats."""
        return self.codes.shape

    @property
    def device(self) -> torch.device:
        """Where the codes are."""
        return self.codes.device

    @property
    def ndim(self) -> int:
        """As of the floats."""
        return self.codes.ndim

    def __len__(self) -> int:
        return len(self.codes)

    def select(self, positions: slice | list[int]) -> "CodedTokens":
        """Some of the S tokens of each frame."""
        return self._each(lambda values: take_tokens(values, positions), self.channels)

    def reshape(self, rows: int, tokens: int, dim: int) -> "CodedTokens":
        """[B, T, S, D] as rows [R, N, D], R a multiple of B."""
        channels = self.channels
        if channels is not None:
            channels = channels.repeat_interleave(rows // len(channels), dim=0)
        return self._each(lambda v: v.reshape(rows, tokens, *v.shape[self.ndim - 1 :]), channels)

    def __getitem__(self, rows: slice) -> "CodedTokens":
        channels = None if self.channels is None else self.channels[rows]
        return self._each(lambda values: values[rows], channels)

    def _each(self, change: Any, channels: Tensor | None) -> "CodedTokens":
        return replace(
            self,
            codes=change(self.codes),
            scales=change(self.scales),
            channels=channels,
            mean=None if self.mean is None else change(self.mean),
            inverse=None if self.inverse is None else change(self.inverse),
        )

    def frame_means(self) -> Tensor:
        """Mean of each frame's tokens: [B, T, S, D] -> [B, T, D]."""
        clips, frames, tokens, dim = self.shape
        means = torch.zeros(clips * frames, dim, dtype=self.dtype, device=self.device)
        for row, _, tile in self.reshape(clips * frames, tokens, dim).tiles():
            means[row] += tile.sum(dim=0)
        return means.view(clips, frames, dim) / tokens

    def tiles(self) -> Iterator[tuple[int, slice, Tensor]]:
        """Row, tokens of it, and their floats [n, D], over rows [R, N, D]."""
        rows, tokens, dim = self.codes.reshape(len(self.codes), -1, self.shape[-1]).shape
        flat = self if self.ndim == 3 else self.reshape(rows, tokens, dim)
        most = max(1, TILE_BYTES // (4 * dim))
        for row in range(rows):
            for start in range(0, tokens, most):
                part = slice(start, min(start + most, tokens))
                tile = flat.codes[row, part].to(torch.float32)
                tile.mul_(flat.scales[row, part, None])
                if flat.channels is not None:
                    tile.mul_(flat.channels[row])
                if flat.mean is not None:
                    tile.sub_(flat.mean[row, part, None])
                if flat.inverse is not None:
                    tile.mul_(flat.inverse[row, part, None])
                yield row, part, tile.to(self.dtype)

    def floats(self) -> Tensor:
        """Everything at once, for what cannot go tile by tile, and on a GPU, where tiles of one row
        would be thousands of small kernels.
        """
        if self.device.type != "cpu" and self.mean is None and self.inverse is None:
            values = self.codes.to(torch.float32).mul_(self.scales[..., None])
            if self.channels is not None:
                values.mul_(self.channels.view(len(self), *(1,) * (self.ndim - 2), -1))
            return values.to(self.dtype)
        out = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        rows = out.view(len(self), -1, self.shape[-1])
        for row, part, tile in self.tiles():
            rows[row, part] = tile
        return out

    def centered(self) -> tuple["CodedTokens", Tensor]:
        """Without each token's mean, and the tokens' variances [...]."""
        flat_mean = torch.empty(len(self), self.scales[0].numel(), device=self.device)
        variance = torch.empty_like(flat_mean)
        for row, part, tile in replace(self, dtype=torch.float32).tiles():
            variance[row, part], flat_mean[row, part] = torch.var_mean(tile, -1, correction=0)
        mean = flat_mean.view(self.scales.shape)
        if self.inverse is not None:
            mean = mean / self.inverse
        if self.mean is not None:
            mean = mean + self.mean
        return replace(self, mean=mean), variance.view(mean.shape)


def scores_along(directions: Tensor, x: CodedTokens) -> Tensor:
    """[R, Q, D] and rows [R, N, D] -> [R, Q, N]."""
    out = directions.new_empty(len(x), directions.shape[1], x.shape[1])
    for row, part, tile in x.tiles():
        out[row, :, part] = directions[row].to(tile.dtype) @ tile.T
    return out


def add_gathered(total: Tensor, weights: Tensor, x: CodedTokens) -> None:
    """Add weights [R, Q, N] times rows [R, N, D] to total [R, Q, D], or [Q, D] over all rows."""
    for row, part, tile in x.tiles():
        mine = total[row] if total.ndim == 3 else total
        mine += weights[row, :, part].to(tile.dtype) @ tile


def covariances(x: CodedTokens, offsets: Tensor) -> Tensor:
    """Sum over channels of x [B, T, S, D] times offsets [K, T, P, D]: [K, B, T, S]."""
    out: Tensor = _Covariances.apply(x, offsets)  # type: ignore[no-untyped-call]
    return out


class _Covariances(Function):
    """Frame by frame; the gradient goes to the offsets."""

    @staticmethod
    def forward(ctx: Any, x: CodedTokens, offsets: Tensor) -> Tensor:
        clips, frames, tokens, dim = x.shape
        rows = x.reshape(clips * frames, tokens, dim)
        out = offsets.new_empty(len(offsets), clips * frames, tokens)
        for row, part, tile in rows.tiles():
            own = offsets[:, row % frames]
            if own.shape[1] == 1:
                out[:, row, part] = own[:, 0] @ tile.T
            else:
                out[:, row, part] = torch.einsum("kpd,pd->kp", own[:, part], tile)
        ctx.rows, ctx.frames = rows, frames
        ctx.save_for_backward(offsets)
        return out.view(len(offsets), clips, frames, tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (offsets,) = ctx.saved_tensors
        flat = grad.reshape(len(offsets), len(ctx.rows), -1)
        total = torch.zeros_like(offsets)
        for row, part, tile in ctx.rows.tiles():
            mine = total[:, row % ctx.frames]
            if mine.shape[1] == 1:
                mine[:, 0] += flat[:, row, part] @ tile
            else:
                mine[:, part] += flat[:, row, part, None] * tile
        return None, total
