"""A small store that several tests of this room share."""

from pathlib import Path

import numpy as np

from stepcli.cache.schema.clips import ClassRow, ClipRecord, ClipRow
from stepcli.cache.schema.spec import Producer, Segment, StoreSpec
from stepcli.cache.store.store import Store, create_store

PRODUCER = Producer(source="random", device="cpu", numerics="float32", versions={})


def make_store(path: Path, *, frames: int = 3, parts: int = 2) -> Store:
    """Twelve clips of two opposite classes in some parts."""
    spec = StoreSpec(
        backbone="made-up",
        weights_digest="0" * 64,
        segments=(Segment(name="cls", kind="prefix", count=1),),
        dim=8,
        frames=frames,
        sampling="uniform",
        preprocessing={},
        dtype="float32",
    )
    store = create_store(path, spec, dataset="made-up")
    random = np.random.default_rng(0)
    rows = []
    with store.writer(PRODUCER, part_clips=12 // parts) as writer:
        for number in range(12):
            name = f"clip-{number}"
            writer.add(
                ClipRecord(name, f"/videos/{name}.mp4", (0.0,) * frames, frames, 8, 8),
                random.normal(size=(frames, 1, 8)).astype(np.float32),
            )
            split = "test" if number >= 8 else "train"
            rows.append(ClipRow(name, ("close", "open")[number % 2], split, group=name))
    store.add_clips(rows)
    store.replace_classes([ClassRow("close", 0, "open"), ClassRow("open", 1, "close")])
    store.refresh()
    return store
