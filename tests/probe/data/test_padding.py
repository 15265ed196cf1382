"""Padded clips: only real frames are reversed, so where the padding lies gives nothing away."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_methods import small_options

from stepcli.cache.schema.clips import ClassRow, ClipRecord, ClipRow
from stepcli.cache.schema.spec import Producer, Segment, StoreSpec
from stepcli.cache.store.store import Store, create_store
from stepcli.probe.analysis.order_tests import NORMAL, ORDERS, _Shown
from stepcli.probe.config import DataConfig, OptimConfig, RunConfig, TaskConfig
from stepcli.probe.data.features import Features, Resident, task_layout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.streamed import Streamed
from stepcli.probe.data.tasks import Samples, Task
from stepcli.probe.data.text import StoreText
from stepcli.probe.methods.registry import methods
from stepcli.probe.training.train import train

CPU = torch.device("cpu")
FRAMES = 6
NAMES = methods().names()
WHOLE = TaskConfig(name="arrow")
CROPS = TaskConfig(name="arrow", clip_frames=4, temporal_crop=True)
SPREAD = TaskConfig(name="arrow", clip_frames=4)
JITTER = TaskConfig(name="arrow", clip_frames=4, jitter=True)
SHUFFLED = TaskConfig(name="arrow", clip_frames=4, jitter=True, frame_order="shuffled")


def padded_store(path: Path, clips: int, *, backward: bool = False) -> Store:
    """Clips of two opposite classes with 1 to 6 real frames in no order: time left no trace.

    Each frame tells the class of the clip, so what tells the direction too has solved the task.

    Args:
        path: Of the store.
        clips: How many; every third one is for testing.
        backward: Extracted from the reversed videos.
    """
    segments = (
        Segment(name="cls", kind="prefix", count=1),
        Segment(name="grid1", kind="grid", count=1, grid=(1, 1)),
    )
    spec = StoreSpec(
        backbone="made-up",
        weights_digest="0" * 64,
        segments=segments,
        layers=(-2, -1),
        dim=16,
        frames=FRAMES,
        sampling="uniform+pad",
        token_scope="frame",
        preprocessing={},
        dtype="float32",
    )
    store = create_store(path, spec, dataset="made-up")
    random = np.random.default_rng(0)
    axis = random.normal(size=16)
    producer = Producer(source="random", device="cpu", numerics="float32", versions={})
    rows = []
    with store.writer(producer) as writer:
        for number in range(clips):
            label, split = ("close", "open")[number % 2], "test" if number // 2 % 3 else "train"
            real = int(random.integers(1, FRAMES + 1))
            # A video has as many frames as are real; the rest repeats its last one.
            times = np.arange(real) / 10
            video = random.normal(size=(real, 2, 2, 16)) + (axis if number % 2 else -axis)
            video = video[::-1] if backward else video
            shown = np.minimum(np.arange(FRAMES), real - 1)
            tokens = video[shown].swapaxes(0, 1).astype(np.float32)
            rows.append(ClipRow(f"clip{number}", label, split, group=f"g{number}"))
            seconds = tuple(times[shown].tolist())
            writer.add(ClipRecord(f"clip{number}", "made up", seconds, real, 8, 8), tokens)
    store.add_clips(rows)
    store.replace_classes(
        [
            ClassRow(label, index, partner=partner, kind="equivariant")
            for index, (label, partner) in enumerate((("close", "open"), ("open", "close")))
        ]
    )
    store.refresh()
    return store


def task_of(store: Store, config: TaskConfig) -> Task:
    return make_task(config, store, labelled_clips(store, "train", "test"))


def of_way(samples: Samples, backward: bool) -> Samples:
    return samples[np.flatnonzero(samples.backward == backward)]


@pytest.mark.parametrize("where", ["resident", "streamed"])
def test_a_backward_clip_is_what_the_reversed_video_would_have_given(
    where: str, tmp_path: Path
) -> None:
    batches = {}
    for filmed_backward in (False, True):
        store = padded_store(tmp_path / str(filmed_backward), 36, backward=filmed_backward)
        task = task_of(store, WHOLE)
        features: Features = Streamed(store, CPU)
        if where == "resident":
            features = Resident(store, task.clips, CPU, CPU)
        samples = of_way(task.shown, not filmed_backward)
        batches[filmed_backward], _ = next(features.batches(task, samples, len(samples)))
    reversed_tokens, extracted = batches[False], batches[True]
    assert torch.equal(reversed_tokens.every_layer, extracted.every_layer)
    assert reversed_tokens.frame_mask is not None
    assert extracted.frame_mask is not None
    assert torch.equal(reversed_tokens.frame_mask, extracted.frame_mask)
    assert torch.equal(reversed_tokens.facts.distinct_frames, extracted.facts.distinct_frames)
    assert torch.equal(reversed_tokens.facts.duration, extracted.facts.duration)


@pytest.mark.parametrize("config", [WHOLE, CROPS, SPREAD, JITTER, SHUFFLED], ids=str)
def test_padding_stays_at_the_end_however_frames_are_chosen(
    config: TaskConfig, tmp_path: Path
) -> None:
    task = task_of(padded_store(tmp_path / "s", 72), config)
    for samples in (task.shown, *(task.epoch(0, epoch) for epoch in range(5))):
        frames = samples.frames(task.length)
        mask = samples.mask(task.length)
        assert mask is not None
        assert samples.real is not None
        forward = Samples(
            samples.clip,
            samples.start,
            np.zeros(len(samples), bool),
            samples.label,
            samples.picked,
            samples.real,
        ).frames(task.length)
        for row, (shown, real) in enumerate(zip(frames, mask, strict=True)):
            count = int(real.sum())
            assert count >= 1
            # Real steps first, then the last of them again and again.
            assert real.tolist() == [True] * count + [False] * (task.length - count)
            assert (shown[count:] == shown[count - 1]).all()
            if shown.min() < samples.real[row]:
                assert (shown[real] < samples.real[row]).all()
            way = slice(None, None, -1) if samples.backward[row] else slice(None)
            assert shown[real].tolist() == forward[row][real][way].tolist()


def test_shuffled_training_shows_every_real_frame_in_many_orders(tmp_path: Path) -> None:
    task = task_of(padded_store(tmp_path / "s", 120), TaskConfig(frame_order="shuffled"))
    orders = set()
    for epoch in range(20):
        samples = task.epoch(0, epoch)
        assert samples.real is not None
        frames = samples.frames(task.length)
        for shown, real in zip(frames, samples.real.tolist(), strict=True):
            assert sorted(shown[:real]) == list(range(real))
            if real == 3:
                orders.add(tuple(shown[:real].tolist()))
    assert len(orders) == 6


@pytest.mark.parametrize("config", [WHOLE, CROPS, SPREAD], ids=str)
def test_order_tests_reverse_as_the_task_does(config: TaskConfig, tmp_path: Path) -> None:
    store = padded_store(tmp_path / "s", 36)
    task = task_of(store, config)
    features = Resident(store, task.clips, CPU, CPU)
    forward, backward = of_way(task.shown, False), of_way(task.shown, True)
    shown = _Shown(features, task, forward)
    random = np.random.default_rng(0)
    want, _ = next(features.batches(task, backward, len(backward)))
    got = shown.ordered("reversed", random)
    assert torch.equal(got.every_layer, want.every_layer)
    assert torch.equal(got.facts.seconds, want.facts.seconds)
    assert got.frame_mask is not None
    assert want.frame_mask is not None
    assert torch.equal(got.frame_mask, want.frame_mask)
    # What ignores the mask sees the last real frame stand still, in every order.
    for name in (NORMAL, *ORDERS):
        batch = shown.ordered(name, random)
        for tokens, real in zip(batch.every_layer, got.frame_mask.sum(dim=1).tolist(), strict=True):
            assert torch.equal(tokens[real:], tokens[real - 1].expand_as(tokens[real:]))


def test_no_method_tells_the_direction_of_frames_without_time(
    tmp_path: Path, text_of: Callable[..., StoreText]
) -> None:
    """Where frames are random, 50 % is the best that there is: more comes from the padding."""
    store = padded_store(tmp_path / "s", 240)
    text_of(("close", "open"), store=store.path, dim=8, vision_dim=16)
    task = task_of(store, WHOLE)
    configs = [quick(name) for name in NAMES]
    features = Resident(store, task.clips, CPU, CPU)
    every = train(features, task_layout(store, task), task, configs, lambda report: None)
    clips = len({int(clip) for clip in task.test.clip})
    # Crops and directions of a clip are dependent: at worst each clip is one coin.
    limit = 4 * 0.5 / np.sqrt(clips)
    for trained in every:
        right = (trained.logits.argmax(dim=1).numpy() == task.test.label).mean()
        assert abs(right - 0.5) < limit, trained.config.method


def quick(name: str) -> RunConfig:
    """A few epochs at a high rate, enough for a linear probe to find where the padding is."""
    info = methods().get(name)
    return RunConfig(
        method=name,
        options=small_options(info),
        task=WHOLE,
        recipe=OptimConfig(lr=3 * info.lr),
        shared=DataConfig(epochs=5, batch_size=16),
        seed=0,
    )
