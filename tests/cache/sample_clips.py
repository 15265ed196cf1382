"""Clips that any process can make again from their ids alone."""

import zlib
from pathlib import Path

import numpy as np

from stepcli.cache import create_store
from stepcli.cache.schema.clips import ClipRecord, ClipRow
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import Producer, Segment, StoreSpec
from stepcli.cache.store.store import Store

SPEC = StoreSpec(
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
MANY_CLIPS = 36
PRODUCER = Producer(source="test", device="cpu", numerics="float32", versions={"stepcli": "0"})


def clip_ids(count: int) -> list[str]:
    return [f"clip-{number:04d}" for number in range(count)]


def make_record(clip_id: str, frames: int = 3) -> ClipRecord:
    return ClipRecord(
        id=clip_id,
        source=f"videos/{clip_id}.webm",
        pts_seconds=tuple(0.25 * number for number in range(frames)),
        distinct_frames=frames,
        frame_height=240,
        frame_width=320,
    )


def make_tokens(clip_id: str, spec: StoreSpec = SPEC) -> np.ndarray:
    """Float32 tokens that are a function of the clip's id."""
    generator = np.random.default_rng(zlib.crc32(clip_id.encode()))
    return generator.standard_normal(spec.clip_shape).astype(np.float32)


def fill_store(
    path: Path | str,
    form: Format,
    count: int,
    *,
    spec: StoreSpec = SPEC,
    part_clips: int = 4,
) -> Store:
    """A committed store of `count` clips."""
    store = create_store(path, spec, dataset="test", format=form)
    store.add_clips(
        ClipRow(clip, label=f"label {number % 3}", split="train")
        for number, clip in enumerate(clip_ids(count))
    )
    with store.writer(PRODUCER, part_clips=part_clips) as writer:
        for clip in clip_ids(count):
            writer.add(make_record(clip, spec.frames), make_tokens(clip, spec))
    store.refresh()
    return store
