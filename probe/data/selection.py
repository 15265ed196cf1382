"""Some of the S tokens of each frame, on the device where they are: by place, or by movement."""

import torch
from torch import Tensor

from stepcli.runtime.device_copies import to_device

STILL = 1e-8
"""Movement that is rounding, in squares of a token's own deviation."""


def take_tokens(values: Tensor, positions: slice | list[int]) -> Tensor:
    """[B, T, S, ...] at some of the S places.

    A list as an index of a tensor on a GPU makes the host wait for the GPU; an index that is
    there does not.
    """
    if isinstance(positions, slice) or values.device.type == "cpu":
        return values[:, :, positions]
    return values.index_select(2, to_device(torch.tensor(positions), values.device))


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
    places = to_device(torch.tensor(patches), tokens.device)
    return kept.index_copy(2, places, distance >= last - STILL)
