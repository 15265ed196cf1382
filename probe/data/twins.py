"""The tokens of the twins task: a clip and its reversal at once, told apart by a tag.

Of a sample's steps [T, S, D] the joined tokens are [T, 2 S, D + EXTRA]: at step t those of frame t
with the tag +, and those of frame T - 1 - t with the tag -, in an order drawn for each step. Every
token is brought to mean 0 and variance 1 first, and the extra channels keep it so: half of them
hold the tag, +-a in turn, half of them fill up a token without variance. So the mean and the
variance of a joined token do not depend on what it shows, and a LayerNorm scales all alike: no
mean of a step's tokens differs when the two tags are exchanged.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from stepcli.cache.schema.spec import Segment
from stepcli.probe.data.layout import JOINED, TokenLayout
from stepcli.probe.data.order_maps import Ints
from stepcli.runtime.device_copies import to_device

EXTRA = 32
"""Extra channels: a multiple of the default numbers of attention heads, which divide the sum."""
TAG_SHARE = 0.25
"""Sum of squares of the tag, as a share of a token's."""
BLANK = 1e-10
"""Variance of a token's channels, as a share of their mean square, below which it shows nothing."""


def joined_layout(layout: TokenLayout) -> TokenLayout:
    """Of joined tokens: one row of patches, because their places say nothing."""
    count = 2 * layout.tokens
    row = Segment(name=JOINED, kind="grid", count=count, grid=(1, count))
    return replace(layout, dim=layout.dim + EXTRA, segments=(row,))


def joined_tokens(tokens: Tensor, seeds: Ints) -> Tensor:
    """Joined tokens, float32.

    Args:
        tokens: [B, T, (L,) S, D], the asked clip's, in the order shown.
        seeds: [B]: of the order of each step's tokens.
    """
    asked = _filled(tokens.float())
    both = torch.cat((asked, asked.flip(1)), dim=-2)
    half, dim = tokens.shape[-2], tokens.shape[-1]
    tag = math.sqrt(TAG_SHARE * dim / (EXTRA // 2)) * _alternating(both)
    both[..., :half, dim : dim + EXTRA // 2] = tag
    both[..., half:, dim : dim + EXTRA // 2] = -tag
    order = to_device(torch.from_numpy(_shuffled(seeds, tokens.shape[1], 2 * half)), both.device)
    order = order.view(*order.shape[:2], *(1,) * (both.ndim - 4), 2 * half, 1)
    return both.gather(-2, order.expand(both.shape))


def _filled(tokens: Tensor) -> Tensor:
    """[..., D] -> [..., D + EXTRA]: mean 0, sum of squares D, the tag's channels still 0."""
    dim = tokens.shape[-1]
    variance, mean = torch.var_mean(tokens, -1, correction=0, keepdim=True)
    blank = variance <= BLANK * tokens.square().mean(-1, keepdim=True)
    shown = (tokens - mean) * variance.masked_fill(blank, 1).rsqrt()
    shown = shown.masked_fill(blank, 0)
    filler = blank * math.sqrt(dim / (EXTRA // 2)) * _alternating(tokens)
    return torch.cat((shown, torch.zeros_like(filler), filler), dim=-1)


def _alternating(like: Tensor) -> Tensor:
    """+1, -1, +1, ... over half of the extra channels."""
    ones = torch.ones(EXTRA // 2, device=like.device)
    ones[1::2] = -1
    return ones


def _shuffled(seeds: Ints, steps: int, tokens: int) -> Ints:
    """[B, steps, tokens]: a permutation of the tokens for each step, the same for equal seeds."""
    with np.errstate(over="ignore"):
        # splitmix64 of (seed, step, token): as good as drawn, without a generator per sample.
        counter = np.arange(1, steps * tokens + 1, dtype=np.uint64)
        x = seeds.astype(np.uint64)[:, None] + counter * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    order: Ints = x.reshape(len(seeds), steps, tokens).argsort(axis=-1)
    return order
