"""Tensors of the virtual device."""

from collections.abc import Iterator
from typing import Any

import torch
from virtual_streams import Memory, here


class WrongDevice(RuntimeError):
    """Tensors of two devices in one operation."""


class VirtualTensor(torch.Tensor):
    """A tensor that says it is on a CUDA device; its values are in `inner`, on the CPU."""

    inner: torch.Tensor
    memory: Memory
    place: torch.device
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor, device: torch.device, memory: Memory) -> "VirtualTensor":
        made: VirtualTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=inner.device,
        )
        made.inner, made.memory, made.place = inner, memory, device
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    def __repr__(self, **_: object) -> str:
        return f"VirtualTensor({tuple(self.shape)}, {self.dtype}, {self.device})"

    def __deepcopy__(self, memo: dict[int, object]) -> "VirtualTensor":
        if id(self) not in memo:
            copy = self.detach().clone()
            made = torch.nn.Parameter(copy, self.requires_grad) if _is_parameter(self) else copy
            memo[id(self)] = made
        return memo[id(self)]  # type: ignore[return-value]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return here().run(func, args, kwargs or {})


def _is_parameter(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, torch.nn.Parameter)


def unwrapped(value: Any) -> Any:
    """An argument, or several, as the CPU's kernels take them."""
    if isinstance(value, VirtualTensor):
        return value.inner
    return type(value)(map(unwrapped, value)) if isinstance(value, tuple | list) else value


def leaves(values: Any) -> Iterator[object]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from leaves(value)
        else:
            yield value


def storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
