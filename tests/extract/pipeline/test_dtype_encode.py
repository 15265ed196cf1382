"""What the device encodes is bit for bit what the store would have."""

from typing import Any

import numpy as np
import pytest
import torch

from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.quantize import encode_clip
from stepcli.cache.schema.spec import Segment, StoreSpec
from stepcli.extract.pipeline.dtype_encode import encode

DTYPES = ["float16", "float32", "bfloat16", "int8", "int8-channel"]


def spec(dtype: Any, layers: tuple[int, ...]) -> StoreSpec:
    return StoreSpec(
        backbone="x",
        weights_digest="0" * 64,
        layers=layers,
        segments=(Segment(name="cls", kind="prefix", count=3),),
        dim=17,
        frames=4,
        sampling="uniform",
        preprocessing={},
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layers", [(-1,), (-2, -1)])
def test_bytes_are_those_of_the_store(dtype: Any, layers: tuple[int, ...]) -> None:
    layout = part_layout(spec(dtype, layers))
    torch.manual_seed(0)
    tokens = torch.randn(5, *layout.tokens.clip_shape) * torch.logspace(-3, 3, 17)
    tokens[1, ..., 0, :] = 0  # a token of zeros has no scale
    tokens[2] = 0
    arrays, fits = encode(tokens, dtype)
    assert fits.all()
    for i in range(5):
        expected = encode_clip(tokens[i].numpy(), layout, "x")
        for ours, theirs, array in zip(arrays, expected, layout.arrays, strict=True):
            found = ours[i].contiguous().numpy()
            assert found.shape == array.clip_shape
            assert found.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_clips_that_do_not_fit_are_named(dtype: Any, value: float) -> None:
    tokens = torch.ones(3, 4, 3, 17)
    tokens[1, 0, 0, 0] = value
    assert encode(tokens, dtype)[1].tolist() == [True, False, True]


def test_a_value_too_large_for_float16_fits_the_others() -> None:
    tokens = torch.ones(1, 4, 3, 17)
    tokens[0, 0, 0, 0] = 70_000.0
    fits = {dtype: encode(tokens, dtype)[1].item() for dtype in DTYPES}  # type: ignore[arg-type]
    assert fits == {dtype: dtype != "float16" for dtype in DTYPES}
    assert np.isfinite(encode(tokens, "bfloat16")[0][0].numpy()).all()
