"""Stores of several layers, and of other types than float16: the same tokens."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepcli.cache import open_store
from stepcli.runtime.errors import UsageError

Extract = Callable[..., int]


@pytest.mark.parametrize(("dtype", "worst"), [("bfloat16", 2**-8), ("int8", 0.03)])
def test_other_store_dtypes_hold_the_same_tokens(
    dtype: Any, worst: float, extract: Extract, tmp_path: Path
) -> None:
    """To half a step of the dtype: 2^-8 of a value, or 1/127 of a token's largest."""
    assert extract(limit=3) == 0
    assert extract(limit=3, dtype=dtype, store=tmp_path / "other") == 0
    plain, other = open_store(tmp_path / "store"), open_store(tmp_path / "other")
    assert other.spec.dtype == dtype
    expected = plain.read(plain.ids)
    found = other.read_floats(other.ids)
    assert 0 < np.abs(found - expected).max() <= worst * np.abs(expected).max()


def test_several_layers_of_several_views_in_half_precision(
    extract: Extract, tmp_path: Path
) -> None:
    views = "center,crop0"
    settings = {"tokens": "cls,grid2", "limit": 3}
    assert extract(**settings, layers=(-2, -1), views=views, precision="bfloat16") == 0
    assert extract(**settings, store=tmp_path / "last") == 0
    store, last = open_store(tmp_path / "store"), open_store(tmp_path / "last")
    assert store.spec.layers == (-2, -1)
    assert store.spec.clip_shape == (2, 4, 5, 32)
    assert len(store) == 6
    ids = last.ids
    found = store.read([f"{name}@center" for name in ids])[:, 1]
    expected = last.read(ids)
    cosine = (found * expected).sum(-1) / np.linalg.norm(found, axis=-1)
    assert (cosine / np.linalg.norm(expected, axis=-1)).min() > 0.99  # bfloat16: 8 bits
    (part,) = (tmp_path / "store" / "parts").iterdir()
    assert json.loads((part / "part.json").read_text())["producer"]["numerics"] == "bfloat16"


@pytest.mark.parametrize(
    ("family", "layers", "text"),
    [
        ("dinov2", (-3, -1), "from -2 .the first block. to -1"),
        ("dinov2", (-1, -1), "different numbers"),
        ("resnet", (-2,), "its last layer only"),
    ],
)
def test_layers_that_are_not_there_are_refused(
    family: str, layers: Any, text: str, extract: Extract
) -> None:
    with pytest.raises(UsageError, match=text):
        extract(family, layers=layers)
