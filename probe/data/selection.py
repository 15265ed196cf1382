"""Some of the S tokens of each frame, on the device where they are: by place, or by movement."""

import torch
from torch import Tensor

STILL = 1e-8
"""Movement that is rounding, in squares of a token's own deviation."""


def take_tokens(values: Tensor, positions: slice | list[int]) -> Tensor:
    """[B, T, S, ...] at some of the S places.

    A list as an index of a tensor on a GPU makes the host wait for the GPU; runs of neighbours do
    not.
    """
    if isinstance(positions, slice) or values.device.type == "cpu":
        return values[:, :, positions]
    return torch.cat([values[:, :, run] for run in _runs(positions)], dim=2)


def _runs(places: list[int]) -> list[slice]:
    """Places in order as slices."""
    starts = [n for n, place in enumerate(places) if not n or place != places[n - 1] + 1]
    bounds = zip(starts, [*starts[1:], len(places)], strict=True)
    return [slice(places[start], places[stop - 1] + 1) for start, stop in bounds]


def moving_tokens(
    tokens: Tensor, patches: list[int], share: float, frame_mask: Tensor | None
) -> Tensor:
    """Choose the patches of each frame that differ most from their place's mean over the clip.

    After Ponbagavathi et al., "T-Mask", arXiv 2508.16207: masking without parameters, towards
    tokens that move. The measure is this project's: the squared distance to the mean over time is
    the same for any order of the frames, so a method that is blind to order stays blind.

    Args:
        tokens: [B, T, S, D], layer-normed.
        patches: Which of the S are patches; all others are kept.
        share: Share of a frame's patches to keep, in (0, 1]; at least one, and all that are equal
            to the last one kept: of a clip in which nothing moves, all.
        frame_mask: [B, T], True for real frames.

    Returns:
        [B, T, S], True for tokens to keep.
    """
    moved = take_tokens(tokens, patches)
    if frame_mask is None:
        mean = moved.mean(dim=1, keepdim=True)
    else:
        there = frame_mask[:, :, None, None].to(moved.dtype)
        mean = (moved * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True)
    distance = (moved - mean).square().mean(dim=-1)
    count = max(1, round(share * len(patches)))
    last = distance.topk(count, dim=-1).values[..., -1:]
    kept = torch.ones(tokens.shape[:3], dtype=torch.bool, device=tokens.device)
    most, start = distance >= last - STILL, 0
    for run in _runs(patches):
        stop = start + run.stop - run.start
        kept[:, :, run] = most[:, :, start:stop]
        start = stop
    return kept
