"""Some of the S tokens of each frame, on the device where they are."""

import torch
from torch import Tensor

from stepcli.runtime.device_copies import to_device


def take_tokens(values: Tensor, positions: slice | list[int]) -> Tensor:
    """[B, T, S, ...] at some of the S places.

    A list as an index of a tensor on a GPU makes the host wait for the GPU; an index that is
    there does not.
    """
    if isinstance(positions, slice) or values.device.type == "cpu":
        return values[:, :, positions]
    return values.index_select(2, to_device(torch.tensor(positions), values.device))
