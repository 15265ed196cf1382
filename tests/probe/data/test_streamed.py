"""Tokens read from disk as they are used: in which order, and that nothing else depends on it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, RunConfig, TaskConfig
from stepcli.probe.data.block_order import (
    BLOCK_BYTES,
    GROUP_BYTES,
    Blocks,
    block_order,
    blocks_of,
    chunks,
)
from stepcli.probe.data.features import Resident, task_layout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.streamed import Streamed
from stepcli.probe.data.tasks import Task
from stepcli.probe.runs.record import FILE, read_run
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.session import Session
from stepcli.probe.training.train import train

CPU = torch.device("cpu")


@pytest.fixture
def many(store_of: Callable[..., Store], tmp_path: Path) -> Store:
    """72 clips, 48 of them for training, stored class by class."""
    return store_of(tmp_path / "many", clips_each=24, labels=("a", "b", "c"), frames=4)


def task_on(store: Store, config: TaskConfig | None = None) -> Task:
    return make_task(config or TaskConfig(), store, labelled_clips(store, "train", "test"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Places on disk of the clips of each read of a store, appended as they are read."""
    seen: list[list[int]] = []
    whole = Store.read_arrays

    def watched(self: Store, clips: Sequence[str], outs: object = None) -> object:
        order = {clip: place for place, clip in enumerate(self.storage_order(self.ids))}
        seen.append([order[clip] for clip in clips])
        return whole(self, clips, outs)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "read_arrays", watched)
    return seen


def ranges(places: Sequence[int]) -> list[int]:
    """Lengths of the runs of neighbours."""
    ends = np.flatnonzero(np.diff(places) != 1) + 1
    return [len(piece) for piece in np.split(np.array(places), ends)]


def test_an_epoch_reads_each_clip_once_in_ranges_that_ascend(
    many: Store, reads: list[list[int]]
) -> None:
    task = task_on(many)
    blocks = Blocks(clips=4, mixed=3)
    features = Streamed(many, CPU, blocks)
    samples = task.epoch(0, 0)
    order = features.training_order(task, samples, (0, 0))
    assert order is not None
    assert sorted(order) == list(range(len(samples)))
    shown = [len(labels) for _, labels in features.batches(task, samples[order], 6)]
    assert shown == [6] * 8
    assert [len(read) for read in reads] == [12] * 4
    every = [place for read in reads for place in read]
    assert len(set(every)) == len(every) == 48
    for read in reads:
        assert read == sorted(read), "ranges ascend within a group"
    # Training clips are stored two by two between test clips: a block of 4 spans 2 such pairs.
    assert sum(len(ranges(read)) for read in reads) <= 12 * 3
    reads.clear()
    for _ in features.batches(task, samples, 6):
        pass
    scattered = sum(len(ranges(read)) for read in reads)
    assert scattered > 24, "fully shuffled samples are read from everywhere"


def test_tests_are_read_from_front_to_back(many: Store, reads: list[list[int]]) -> None:
    task = task_on(many)
    features = Streamed(many, CPU, Blocks(clips=4, mixed=2))
    order = features.reading_order(task, task.shown)
    assert order is not None
    for _ in features.batches(task, task.shown[order], 5):
        pass
    every = [place for read in reads for place in read]
    assert every == sorted(every)
    assert len(every) == len(set(every)) == 24


def test_the_order_is_drawn_anew_each_epoch_and_again_the_same(many: Store) -> None:
    task = task_on(many)
    features = Streamed(many, CPU, Blocks(clips=4, mixed=3))
    orders = []
    for epoch in (0, 1, 0):
        samples = task.epoch(0, epoch)
        order = features.training_order(task, samples, (0, epoch))
        assert order is not None
        orders.append(samples.clip[order].tolist())
    assert orders[0] == orders[2]
    assert orders[0] != orders[1]
    assert orders[0] != task.epoch(0, 0).clip.tolist()


def test_blocks_stay_together_and_mix_within_their_group() -> None:
    random = np.random.default_rng(1)
    ranks = random.permutation(1000) * 3  # of which a task uses every third clip
    order = block_order(ranks, Blocks(clips=10, mixed=5), (0, 0))
    assert sorted(order) == list(range(1000))
    groups = (ranks[order] // 30).reshape(20, 50)
    for group in groups:
        assert len(np.unique(group)) == 5, "5 whole blocks"
        assert len(ranges(group.tolist())) > 10, "shuffled among each other"
    firsts = [np.unique(group).tolist() for group in groups]
    assert firsts != sorted(firsts), "blocks of a group come from anywhere"
    assert np.unique(groups).tolist() == list(range(100))


def test_a_clip_that_is_shown_twice_is_read_once(many: Store, reads: list[list[int]]) -> None:
    task = task_on(many, TaskConfig(name="arrow", answer="direction"))
    features = Streamed(many, CPU, Blocks(clips=4, mixed=3))
    samples = task.epoch(0, 0)
    assert len(samples) == 96
    order = features.training_order(task, samples, (0, 0))
    assert sum(len(labels) for _, labels in features.batches(task, samples[order], 6)) == 96
    every = [place for read in reads for place in read]
    assert len(every) == len(set(every)) == 48


@pytest.mark.parametrize(
    ("clip_bytes", "free", "expected"),
    [
        (12 << 10, 1 << 40, (682, 32)),  # one CLS per frame, 384 channels
        (420 << 10, 1 << 40, (19, 32)),
        (6 << 20, 1 << 40, (1, 42)),
        (1 << 30, 1 << 40, (1, 1)),
        (420 << 10, 1 << 30, (19, 8)),  # 64 MiB: twice that is an eighth of what is free
        (420 << 10, 1 << 20, (1, 1)),
    ],
)
def test_blocks_suit_clips_and_memory(
    clip_bytes: int, free: int, expected: tuple[int, int]
) -> None:
    blocks = blocks_of(clip_bytes, free)
    assert (blocks.clips, blocks.mixed) == expected
    assert blocks.clips == 1 or blocks.clips * clip_bytes <= BLOCK_BYTES
    assert blocks.mixed == 1 or blocks.group_clips * clip_bytes <= GROUP_BYTES


def test_chunks_are_whole_batches_of_few_enough_clips() -> None:
    clips = np.repeat(np.arange(20), 2)[:, None]
    assert chunks(clips, 4, 6) == [slice(at, min(at + 12, 40)) for at in range(0, 40, 12)]
    assert chunks(clips, 4, 1) == [slice(at, at + 4) for at in range(0, 40, 4)], (
        "one batch is least"
    )
    assert chunks(clips, 16, 1000) == [slice(0, 40)]
    assert chunks(clips[:0], 4, 6) == []
    several = np.arange(40).reshape(10, 4)  # steps of different clips
    assert chunks(several, 2, 8) == [slice(at, at + 2) for at in range(0, 10, 2)]


def fitted(store: Store) -> list[RunConfig]:
    """Methods whose result does not depend on the order of samples."""
    shared = DataConfig(batch_size=5)
    return run_configs("knn", [{}], {}, TaskConfig(), shared, range(1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8", "int8-channel"])
def test_results_do_not_depend_on_where_tokens_are(
    dtype: str, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / dtype, dtype=dtype, clips_each=12)
    task = task_on(store)
    layout = task_layout(store, task)
    places = (Resident(store, task.clips, CPU, CPU), Streamed(store, CPU, Blocks(2, 3)))
    found = [train(f, layout, task, fitted(store), lambda report: None)[0] for f in places]
    assert torch.allclose(found[0].logits, found[1].logits, atol=1e-5)
    assert [each.shuffling for each in found] == [
        "",
        "blocks of 2 neighbouring clips, 3 blocks at a time",
    ]


def test_a_run_of_streamed_tokens_says_so_and_learns_as_well(
    many: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = run_configs(
        "linear", [{}], {"lr": 1e-2}, TaskConfig(), DataConfig(epochs=8, batch_size=6), range(2)
    )
    resident = Session(many.path, tmp_path / "resident", "cpu").run(configs)
    monkeypatch.setattr("stepcli.probe.sweeps.session.free_bytes", lambda device: 1 << 12)
    streamed = Session(many.path, tmp_path / "streamed", "cpu").run(configs)
    said = capsys.readouterr()
    assert "shuffled in blocks of" in said.out + said.err
    for one, other in zip(resident, streamed, strict=True):
        assert one.run == other.run
        assert one.shuffling == ""
        assert other.shuffling.startswith("blocks of")
        assert read_run(tmp_path / "streamed" / other.run / FILE).shuffling == other.shuffling
        assert one.losses != other.losses, "another order"
        assert other.losses[-1] < other.losses[0]
        assert other.losses[-1] == pytest.approx(one.losses[-1], abs=0.05)
