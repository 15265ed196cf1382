"""Shapes and batches that the probe tests share."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stepcli.cache.clips import ClassRow, ClipRecord, ClipRow
from stepcli.cache.spec import Dtype, Producer, Segment, StoreSpec, TokenScope
from stepcli.cache.store import Store, create_store
from stepcli.probe.tokens import TokenLayout

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


@pytest.fixture
def layout() -> TokenLayout:
    """4 frames of 3 tokens with 32 channels."""
    return TokenLayout.of(frames=4, tokens=3, dim=32)


@pytest.fixture
def tokens() -> Tensor:
    """5 clips of that layout, float32, with a mean and a spread as real tokens have."""
    return torch.randn(5, 4, 3, 32, generator=torch.Generator().manual_seed(7)) * 2 + 0.5


def make_store(
    path: Path,
    *,
    frames: int = 6,
    dim: int = 16,
    clips_each: int = 6,
    labels: tuple[str, ...] = ("close", "open"),
    partners: dict[str, str] | None = None,
    scope: TokenScope = "frame",
    dtype: Dtype = "float16",
    test_only: tuple[str, ...] = (),
) -> Store:
    """A store whose clips drift along a direction of their class: order tells partners apart.

    Two thirds of each class's clips are for training; classes of `test_only` have no such clip.
    """
    spec = StoreSpec(
        backbone="made-up",
        weights_digest="0" * 64,
        segments=(Segment(name="grid1", kind="grid", count=2, grid=(1, 2)),),
        dim=dim,
        frames=frames,
        sampling="uniform",
        token_scope=scope,
        preprocessing={},
        dtype=dtype,
    )
    store = create_store(path, spec, dataset="made-up")
    random = np.random.default_rng(0)
    axis = random.normal(size=dim)
    producer = Producer(source="random", device="cpu", numerics="float32", versions={})
    rows = []
    with store.writer(producer) as writer:
        for index, label in enumerate(labels):
            for number in range(clips_each):
                split = "test" if number % 3 == 2 or label in test_only else "train"
                rows.append(ClipRow(f"{label}/{number}", label, split, group=f"g{number}"))
                sign = 1 if index % 2 else -1
                drift = sign * np.linspace(-1, 1, frames)[:, None, None] * axis
                tokens = drift + random.normal(size=(frames, 2, dim)) * 0.3 + index // 2
                record = ClipRecord(rows[-1].id, "made up", (0.0,) * frames, frames, 8, 8)
                writer.add(record, tokens.astype(np.float32))
    store.add_clips(rows)
    partners = {"close": "open", "open": "close"} if partners is None else partners
    store.replace_classes(
        [
            ClassRow(
                label,
                index,
                partner=partners.get(label, ""),
                kind="equivariant" if label in partners else "",
            )
            for index, label in enumerate(labels)
        ]
    )
    store.refresh()
    return store


@pytest.fixture(scope="session")
def store_of() -> Callable[..., Store]:
    """`make_store`, for tests that need another store than `store`."""
    return make_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """12 clips of two opposite classes, 6 frames of 2 tokens with 16 channels."""
    return make_store(tmp_path / "store")
