"""Tokens into the bytes that a store keeps, on the device where they are.

A GPU then sends float16 or int8 over the bus instead of float32, and the CPU has nothing to
convert. The arithmetic is that of `stepcli.cache.schema.quantize`, value by value.
"""

import torch
from torch import Tensor

from stepcli.cache.schema.quantize import INT8_LIMIT, STEPS
from stepcli.cache.schema.spec import Dtype

_FLOATS = {"float16": torch.float16, "float32": torch.float32, "bfloat16": torch.bfloat16}


def encode(tokens: Tensor, dtype: Dtype) -> tuple[list[Tensor], Tensor]:
    """Encode n clips.

    Args:
        tokens: [n, T, S, D], or [n, L, T, S, D] for several layers; floats.
        dtype: of the store.

    Returns:
        The arrays in the store's order, each [n, ...]: tokens (bfloat16 as the bits, int16), for
        int8 the scales, for int8-channel those of the channels too; and [n] bool: which clips'
        values all fit the dtype. The arrays' values for the others are undefined.
    """
    if dtype in _FLOATS:
        stored = tokens.to(_FLOATS[dtype])
        fits = torch.isfinite(stored).flatten(1).all(dim=1)
        return [stored.view(torch.int16) if dtype == "bfloat16" else stored], fits
    values = tokens.float()
    fits = (values.abs() <= INT8_LIMIT).flatten(1).all(dim=1)  # false for NaN too
    arrays = []
    if dtype == "int8-channel":
        channel = values.abs().amax(dim=(-3, -2))
        values = values / _or_one(channel)[..., None, None, :]
        arrays.append(channel)
    scales = values.abs().amax(dim=-1) / STEPS
    steps = (values / _or_one(scales)[..., None]).round().clamp(-STEPS, STEPS)
    return [steps.to(torch.int8), scales, *arrays], fits


def _or_one(scales: Tensor) -> Tensor:
    return torch.where(scales > 0, scales, 1.0)
