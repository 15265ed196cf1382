"""The arrow of time on tokens of whole clips: backward samples show the reversed views."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stepcli.cache.schema.clips import ClassRow, ClipRecord, ClipRow
from stepcli.cache.schema.spec import Producer, Segment, StoreSpec, TokenScope
from stepcli.cache.store.store import Store, create_store
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.features import Features, Resident
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.streamed import Streamed
from stepcli.probe.data.tasks import Task
from stepcli.runtime.errors import UsageError

CPU = torch.device("cpu")
FRAMES = 6
CONFIGS = {
    "whole": TaskConfig(name="arrow"),
    "crops": TaskConfig(name="arrow", clip_frames=4, temporal_crop=True),
    "spread": TaskConfig(name="arrow", clip_frames=4),
    "jitter": TaskConfig(name="arrow", clip_frames=3, jitter=True),
    "shuffled": TaskConfig(name="arrow", frame_order="shuffled"),
    "forward": TaskConfig(name="arrow", directions="forward"),
    "observed": TaskConfig(name="arrow", observed=0.5),
}


def made_store(path: Path, scope: TokenScope, views: tuple[str, ...], *, padded: bool) -> Store:
    """Random tokens; reversed views hold those of the centre in reverse, padding last."""
    grid = Segment(name="grid1", kind="grid", count=2, grid=(1, 2))
    spec = StoreSpec(
        backbone="made-up",
        weights_digest="0" * 64,
        segments=(grid,),
        dim=8,
        frames=FRAMES,
        sampling="uniform+pad" if padded else "uniform",
        token_scope=scope,
        preprocessing={},
        dtype="float32",
    )
    store = create_store(path, spec, dataset="made-up")
    random = np.random.default_rng(0)
    producer = Producer(source="random", device="cpu", numerics="float32", versions={})
    rows = []
    with store.writer(producer) as writer:
        for number in range(18):
            label, split = ("close", "open")[number % 2], "test" if number % 3 == 2 else "train"
            real = int(random.integers(1, FRAMES + 1)) if padded else FRAMES
            video, times = random.normal(size=(real, 2, 8)), np.arange(real) / 10
            for view in views:
                way = slice(None, None, -1) if view.startswith("reversed") else slice(None)
                shown = np.minimum(np.arange(FRAMES), real - 1)
                name = f"clip{number}@{view}" if view else f"clip{number}"
                seconds = tuple(times[way][shown].tolist())
                rows.append(ClipRow(name, label, split, group=f"g{number}"))
                tokens = video[way][shown].astype(np.float32)
                writer.add(ClipRecord(name, "made up", seconds, real, 8, 8), tokens)
    store.add_clips(rows)
    partners = (("close", "open"), ("open", "close"))
    store.replace_classes([ClassRow(a, i, partner=b) for i, (a, b) in enumerate(partners)])
    store.refresh()
    return store


def task_of(store: Store, config: TaskConfig) -> Task:
    return make_task(config, store, labelled_clips(store, "train", "test"))


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("name", CONFIGS)
def test_reversed_views_show_what_reversed_tokens_would(
    name: str, padded: bool, tmp_path: Path
) -> None:
    """Where the views' tokens are those of the centre in reverse, both ways are the same."""
    plain = made_store(tmp_path / "plain", "frame", ("",), padded=padded)
    views = made_store(tmp_path / "views", "clip", ("center", "reversed-center"), padded=padded)
    by_index, by_view = (task_of(store, CONFIGS[name]) for store in (plain, views))
    assert len(by_view.test) == len(by_index.test)
    assert by_view.train_clips == by_index.train_clips == 12
    for read in (
        lambda store, task: Resident(store, task.clips, CPU, CPU),
        lambda s, t: Streamed(s, CPU),
    ):
        features: list[Features] = [read(plain, by_index), read(views, by_view)]
        for of in (lambda task: task.test, lambda task: task.epoch(0, 0)):
            found = []
            for each, task in zip(features, (by_index, by_view), strict=True):
                batch, labels = next(each.batches(task, of(task), 100))
                found.append((batch, labels, batch.frame_mask))
            (one, labels, mask), (other, theirs, their_mask) = found
            assert torch.equal(one.stored, other.stored)
            assert torch.equal(labels, theirs)
            assert (mask is None) == (their_mask is None)
            if mask is not None and their_mask is not None:
                assert torch.equal(mask, their_mask)
            assert torch.equal(one.facts.seconds, other.facts.seconds)


def test_samples_are_named_and_grouped_by_the_clip(tmp_path: Path) -> None:
    store = made_store(tmp_path / "s", "clip", ("center", "reversed-center"), padded=False)
    task = task_of(store, CONFIGS["whole"])
    assert {task.clips[row].partition("@")[2] for row in task.test.clip} == {"center"}
    shown = task.test.clips(task.length)[:, 0]
    ways = [task.clips[row].partition("@")[2] == "reversed-center" for row in shown]
    assert ways == task.test.backward.tolist()
    assert [task.groups[a] for a in shown] == [task.groups[b] for b in task.test.clip]
    assert task.test.label[0] != task.test.label[1]


def test_other_views_are_left_out_and_missing_ones_refused(tmp_path: Path) -> None:
    views = ("left", "center", "reversed-center", "crop0")
    task = task_of(made_store(tmp_path / "s", "clip", views, padded=False), CONFIGS["whole"])
    assert {clip.partition("@")[2] for clip in task.clips} == {"center", "reversed-center"}
    for number, given in enumerate((("",), ("center", "left"), ("reversed-center",))):
        store = made_store(tmp_path / f"none{number}", "clip", given, padded=False)
        with pytest.raises(
            UsageError, match=r"12 clips without one \(first: 'clip0'.*--views reversed"
        ):
            task_of(store, CONFIGS["whole"])


def test_reversed_views_are_no_samples_of_other_tasks(tmp_path: Path) -> None:
    for scope in ("clip", "frame"):
        views = ("center", "reversed-center")
        store = made_store(tmp_path / scope, scope, views, padded=False)  # type: ignore[arg-type]
        task = task_of(store, TaskConfig())
        assert {clip.partition("@")[2] for clip in task.clips} == {"center"}
        if scope == "frame":
            arrow = task_of(store, CONFIGS["whole"])
            assert {clip.partition("@")[2] for clip in arrow.clips} == {"center"}
            assert arrow.turned is None
