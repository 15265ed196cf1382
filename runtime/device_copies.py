"""Copies from the host to a device that let the host go on."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; to a GPU through pinned memory, without waiting for it.

    A plain copy to a GPU waits until everything that was asked of the GPU before is done. The
    allocator of pinned memory keeps the buffer until the copy has ended.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
