"""What CUDA refuses, and what it makes the host wait for, by operation."""

from functools import cache
from typing import Any

import torch
from virtual_tensors import VirtualTensor, WrongDevice, leaves

aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten._unique2.default: "unique",
    aten.unique_dim.default: "unique",
    aten.unique_consecutive.default: "unique",
    aten.bincount.default: "bincount",
    aten.equal.default: "equal",
}
"""Operations whose CUDA kernels make the host wait, by the name that they are counted under."""
FUSED = {aten._fused_adamw_.default, aten._fused_adamw_.tensor_lr}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
INDEXING |= {aten._index_put_impl_.default}
MATRIX_PRODUCTS = {aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default}


def checked(func: Any, operands: list[object], virtual: list[VirtualTensor]) -> list[str]:
    """Waits of the host that an operation's operands cause.

    Raises:
        WrongDevice: CUDA does not take them together.
    """
    devices = {tensor.device for tensor in virtual}
    if len(devices) > 1:
        raise WrongDevice(f"{func}: tensors on {', '.join(sorted(map(str, devices)))}")
    hosts = [
        operand
        for operand in operands
        if isinstance(operand, torch.Tensor) and not isinstance(operand, VirtualTensor)
    ]
    if func in FUSED and hosts:
        raise WrongDevice(f"{func}: all lists, the steps' too, must be on the device")
    if func in FUSED:
        _require_fast_path(virtual)
    waits: list[str] = []
    if func in INDEXING:
        if not isinstance(operands[0], VirtualTensor):
            raise WrongDevice(f"{func}: indices on the device of a tensor on the CPU")
        if hosts and any(tensor.ndim for tensor in hosts):
            waits.append("index from the host")
        if any(t.dtype in (torch.bool, torch.uint8) for t in _indices(operands)):
            waits.append("boolean index")
        return waits
    wrong = [tensor for tensor in hosts if tensor.ndim]
    if wrong or (hosts and func in MATRIX_PRODUCTS):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in hosts)
        raise WrongDevice(f"{func}: tensors on {virtual[0].device} and cpu (those: {shapes})")
    return waits


def _indices(operands: list[object]) -> list[torch.Tensor]:
    return [leaf for leaf in operands[1:] if isinstance(leaf, torch.Tensor)]


def written(func: Any, args: Any, kwargs: dict[str, Any]) -> set[int]:
    """Ids of the tensors that an operation changes, by its schema."""
    found = set()
    for place, name in _written_arguments(func):
        value = args[place] if place < len(args) else kwargs.get(name)
        found |= {id(leaf) for leaf in leaves((value,))}
    return found


@cache
def _written_arguments(func: Any) -> list[tuple[int, str]]:
    return [
        (place, argument.name)
        for place, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _require_fast_path(tensors: list[VirtualTensor]) -> None:
    """What CUDA's fused optimisers check: values, gradients and moments of one layout."""
    for tensor in tensors:
        if tensor.ndim and not _dense(tensor):
            raise RuntimeError("params, grads and moments must be dense")
    quarter = (len(tensors) - sum(t.ndim == 0 for t in tensors)) // 4
    for place in range(quarter):
        four = tensors[place : 4 * quarter : quarter]
        strides = {
            tuple(s for s, n in zip(t.stride(), t.shape, strict=True) if n > 1) for t in four
        }
        if len(strides) > 1 or len({t.dtype for t in four}) > 1:
            raise RuntimeError("params, grads and moments must have one dtype and layout")


def _dense(tensor: torch.Tensor) -> bool:
    """Whether the values fill a block of memory, each at a place of its own."""
    size = 1
    for stride, extent in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if extent > 1:
            if stride != size:
                return False
            size *= extent
    return True
