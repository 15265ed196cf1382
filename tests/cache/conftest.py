"""Small specs, clips and producers for the store's tests."""

from collections.abc import Callable

import numpy as np
import pytest

from stepcli.cache.clips import ClipRecord
from stepcli.cache.spec import Producer, Segment, StoreSpec


@pytest.fixture
def spec() -> StoreSpec:
    return StoreSpec(
        backbone="test-backbone",
        weights_digest="0" * 64,
        segments=(
            Segment(name="cls", kind="prefix", count=1),
            Segment(name="grid2", kind="grid", count=4, grid=(2, 2)),
        ),
        dim=6,
        frames=3,
        sampling="uniform",
        preprocessing={"resize": 224, "mean": [0.5, 0.5, 0.5]},
        dtype="float16",
    )


@pytest.fixture
def producer() -> Producer:
    return Producer(source="test", device="cpu", numerics="float32", versions={"stepcli": "0"})


def make_record(clip_id: str, frames: int = 3) -> ClipRecord:
    return ClipRecord(
        id=clip_id,
        source=f"videos/{clip_id}.webm",
        pts_seconds=tuple(0.25 * i for i in range(frames)),
        distinct_frames=frames,
        frame_height=240,
        frame_width=320,
    )


def make_tokens(clip_id: str, shape: tuple[int, ...]) -> np.ndarray:
    """Tokens that depend on the clip's id alone, so that any process can make them again."""
    seed = int.from_bytes(clip_id.encode()[:16].ljust(16, b"."), "little")
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


Record = Callable[..., ClipRecord]


@pytest.fixture
def record() -> Record:
    return make_record
