"""Copies from the host to a device that let the host go on."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; to a GPU through pinned memory, without waiting for it.

    A plain copy to a GPU waits until everything that was asked of the GPU before is done. The
    allocator of pinned memory keeps the buffer until the copy has ended.

    Raises:
        RuntimeError: a CUDA graph is captured, which would copy whatever is in that buffer later.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError("a copy from the host in a capture; hold it in a DeviceConstant")
    return tensor.pin_memory().to(device, non_blocking=True)


def write_to_device(tensor: Tensor, place: Tensor) -> None:
    """Write a tensor of the host into memory of a device, which takes no memory there."""
    pinned = tensor.pin_memory() if place.device.type == "cuda" else tensor
    place.copy_(pinned, non_blocking=True)


class DeviceConstant:
    """Numbers that a module computes with and never changes, copied once to where they are used.

    A buffer of the module would be part of its state, with a dimension of members.
    """

    def __init__(self, values: Tensor) -> None:
        """Of values on the host."""
        self._values = values
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def on(self, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        """The values there, of their own type or another."""
        key = device, dtype or self._values.dtype
        if key not in self._copies:
            self._copies[key] = to_device(self._values.to(key[1]), device)
        return self._copies[key]

    def __deepcopy__(self, memo: dict[int, object]) -> "DeviceConstant":
        """Copies of a module share it."""
        return self
