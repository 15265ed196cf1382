"""Stores of random tokens in no order: no probe can know the order of their frames."""

from pathlib import Path

import numpy as np
import torch

from stepcli.cache.schema.clips import ClassRow, ClipRecord, ClipRow
from stepcli.cache.schema.spec import Dtype, Producer, Segment, StoreSpec
from stepcli.cache.store.store import Store, create_store
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.order_maps import ORDER_MAPS
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.tasks import Task

CPU = torch.device("cpu")
MAPS = sorted(ORDER_MAPS)
PARTNERS = {"open": "close", "close": "open", "push": "pull", "pull": "push"}


def random_store(
    path: Path,
    frames: int = 9,
    *,
    clips: int = 24,
    dtype: Dtype = "float32",
    padded: bool = False,
    paired: bool = True,
    labels: tuple[str, ...] = ("close", "open", "pull", "push"),
) -> Store:
    """Random tokens in no order; padded clips have 1 to `frames` real frames."""
    grid = Segment(name="grid2", kind="grid", count=3, grid=(1, 3))
    spec = StoreSpec(
        backbone="made-up",
        weights_digest="0" * 64,
        segments=(grid,),
        dim=16,
        frames=frames,
        sampling="uniform+pad" if padded else "uniform",
        token_scope="frame",
        preprocessing={},
        dtype=dtype,
    )
    store = create_store(path, spec, dataset="made-up")
    random = np.random.default_rng(frames)
    producer = Producer(source="random", device="cpu", numerics="float32", versions={})
    rows = []
    with store.writer(producer) as writer:
        for number in range(clips):
            label, split = labels[number % len(labels)], "test" if number % 3 else "train"
            real = int(random.integers(1, frames + 1)) if padded else frames
            shown = np.minimum(np.arange(frames), real - 1)
            tokens = (random.normal(size=(frames, 3, 16)) + number)[shown].astype(np.float32)
            rows.append(ClipRow(f"clip{number}", label, split, group=f"g{number}"))
            seconds = tuple((shown / 10).tolist())
            writer.add(ClipRecord(f"clip{number}", "made up", seconds, real, 8, 8), tokens)
    store.add_clips(rows)
    store.replace_classes(
        [
            ClassRow(name, index, partner=PARTNERS[name] if paired else "")
            for index, name in enumerate(labels)
        ]
    )
    store.refresh()
    return store


def task_of(store: Store, config: TaskConfig) -> Task:
    return make_task(config, store, labelled_clips(store, "train", "test"))
