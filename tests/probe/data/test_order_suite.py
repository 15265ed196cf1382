"""The order suite: what its samples show, on stores of random tokens."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from random_tokens import CPU, MAPS, random_store, task_of

from stepcli.cache.schema.spec import Dtype
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.features import Resident, task_layout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.order_maps import ORDER_MAPS
from stepcli.probe.data.slices import held_out, in_folds
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.streamed import Streamed
from stepcli.probe.data.tasks import Samples, Task
from stepcli.probe.data.twins import EXTRA, joined_tokens

FRAMES = (3, 9, 16)


def shown_set(task: Task, samples: Samples, row: int) -> Counter[tuple[int, int]]:
    """Clip and frame of each step of one sample."""
    clips, frames = samples.clips(task.length)[row], samples.frames(task.length)[row]
    return Counter(zip(clips.tolist(), frames.tolist(), strict=True))


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("name", MAPS)
def test_both_labels_of_a_draw_show_the_same_real_frames(
    name: str, frames: int, padded: bool, tmp_path: Path
) -> None:
    store = random_store(tmp_path / "s", frames, padded=padded)
    task = task_of(store, TaskConfig(name=name))
    partner = {a: b for pair in task.pairs for a, b in (pair, pair[::-1])}
    test, draws = task.test, ORDER_MAPS[name].draws
    assert len(test) == 16 * draws * 2
    assert test.mask(task.length) is None
    for row in range(0, len(test), 2):
        ways = (test.backward[row], test.backward[row + 1])
        assert (test.clip[row], test.start[row], ways) == (
            test.clip[row + 1],
            test.start[row + 1],
            (False, True),
        )
        assert partner[int(test.label[row])] == test.label[row + 1]
        assert shown_set(task, test, row) == shown_set(task, test, row + 1)
    for samples in (test, task.epoch(0, 0), task.epoch(1, 3)):
        clips, steps = samples.clips(task.length), samples.frames(task.length)
        real = np.array([store.record(clip).distinct_frames for clip in task.clips])
        assert (steps >= 0).all()
        assert (steps < real[clips]).all()
        # Every label is as frequent as its partner.
        counts = np.bincount(samples.label, minlength=len(task.classes))
        assert all(counts[a] == counts[b] for a, b in task.pairs)


@pytest.mark.parametrize("name", MAPS)
def test_epochs_draw_anew_and_a_test_never_does(name: str, tmp_path: Path) -> None:
    store = random_store(tmp_path / "s", 16, clips=48)
    task, again = (task_of(store, TaskConfig(name=name)) for _ in range(2))
    for one, other in ((task.test, again.test), (task.epoch(0, 1), again.epoch(0, 1))):
        for field in ("clip", "backward", "label", "picked", "rows", "places"):
            mine, theirs = getattr(one, field), getattr(other, field)
            assert (mine is None and theirs is None) or np.array_equal(mine, theirs)
    first, second = task.epoch(0, 0), task.epoch(0, 1)
    order = [np.lexsort((each.backward, each.clip)) for each in (first, second)]
    same = [
        each.frames(task.length)[rows] for each, rows in zip((first, second), order, strict=True)
    ]
    assert np.array_equal(*same) == (name == "there-and-back")
    assert not np.array_equal(task.epoch(0, 0).clip, task.epoch(1, 0).clip)


@pytest.mark.parametrize("length", [5, 6, 7, 8, 13, 17, 32])
@pytest.mark.parametrize("real", [3, 4, 9, 16])
def test_there_and_back_starts_turns_and_ends_at_the_middle(length: int, real: int) -> None:
    walk = ORDER_MAPS["there-and-back"].walk(length, np.array([real]), np.random.default_rng(0))[0]
    middle = (real - 1) // 2
    assert walk[[0, length // 2, -1]].tolist() == [middle] * 3
    legs = (length - 1) // 4
    assert (walk[legs], walk[-1 - legs]) == (real - 1, 0)


@pytest.mark.parametrize("name", ["there-and-back", "random-onset", "distractors"])
def test_single_steps_are_the_same_under_both_labels(name: str, tmp_path: Path) -> None:
    task = task_of(random_store(tmp_path / "s", 9), TaskConfig(name=name))
    steps = [0, -1] if name == "random-onset" else [0, task.length // 2, -1]
    ends = np.stack((task.test.clips(task.length), task.test.frames(task.length)))[:, :, steps]
    assert np.array_equal(ends[:, ::2], ends[:, 1::2])


@pytest.mark.parametrize("length", [8, 9, 16, 32])
def test_each_step_of_the_sawtooth_shows_each_frame_as_often_under_both_labels(length: int) -> None:
    """Over all phases: the reversal of a wave that starts anywhere is one that starts anywhere."""
    real, draws = np.full(40_000, 9), np.random.default_rng(0)
    forward = ORDER_MAPS["sawtooth"].walk(length, real, draws)
    period = length // 2
    assert np.array_equal(forward[:, :-period], forward[:, period:])
    shares = [np.bincount(forward[:, step], minlength=9) / len(real) for step in range(length)]
    assert np.ptp(np.stack(shares), axis=0).max() < 0.02
    # And yet neighbouring steps tell them apart: there are more steps up than down.
    steps = np.diff(forward, axis=1)
    assert (steps > 0).sum() > 1.5 * (steps < 0).sum()


def test_distractors_are_other_clips_of_other_pairs_of_the_same_split(tmp_path: Path) -> None:
    task = task_of(random_store(tmp_path / "s", 9, clips=48), TaskConfig(name="distractors"))
    for samples, side in ((task.test, 1), (task.epoch(0, 0), 0)):
        clips = samples.clips(task.length)
        around = np.concatenate((clips[:, :4], clips[:, -4:]), axis=1)
        assert (clips[:, 4:-4] == samples.clip[:, None]).all()
        assert ((around >= task.train_clips) == bool(side)).all()
        assert (task.labels[around] // 2 != task.labels[samples.clip][:, None] // 2).all()


def test_distractors_of_a_clip_share_its_fold(tmp_path: Path) -> None:
    one = TaskConfig(name="distractors", slice_seed=0, folds=2, fold=1)
    config = one.of_pass
    store = random_store(tmp_path / "s", 9, clips=96)
    table = labelled_clips(store, "train", "test")
    held = held_out(table, config)
    task = in_folds(make_task(config, store, held), held, config)
    assert task.fold_of is not None
    for samples in (task.epoch(0, 0), task.test):
        fold = task.fold_of[samples.clips(task.length)]
        assert (fold == task.fold_of[samples.clip][:, None]).all()
    # One fold by itself is tested on the same samples.
    alone = make_task(one, store, held_out(table, one))
    mine = task.test[np.flatnonzero(task.fold_of[task.test.clip] == 1)]
    names, others = (
        np.array(of.clips)[samples.clips(of.length)].tolist()
        for samples, of in ((mine, task), (alone.test, alone))
    )
    assert names == others
    assert np.array_equal(mine.frames(task.length), alone.test.frames(task.length))


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("dtype", ["float16", "int8", "int8-channel"])
def test_twins_hold_the_same_tokens_and_equal_means_under_both_labels(
    dtype: Dtype, padded: bool, tmp_path: Path
) -> None:
    store = random_store(tmp_path / "s", 9, dtype=dtype, padded=padded)
    task = task_of(store, TaskConfig(name="twins"))
    features = Resident(store, task.clips, CPU, CPU)
    batch, _ = next(features.batches(task, task.test, len(task.test)))
    layout = task_layout(store, task)
    tokens = batch.stored
    assert tokens.shape[2:] == (layout.tokens, layout.dim) == (6, 16 + EXTRA)
    for a, b in zip(tokens[::2], tokens[1::2], strict=True):
        both = [each.flatten(0, 1).numpy().round(4) for each in (a, b)]
        rows = [each[np.lexsort(each.T)] for each in both]
        np.testing.assert_allclose(rows[0], rows[1], atol=2e-4)
    for kind in (False, True):
        means = batch.frame_means(layout, "all", kind)
        assert float((means[::2] - means[1::2]).abs().max()) < 1e-5
    again = batch.renormalized.mean(2)
    assert float((again[::2] - again[1::2]).abs().max()) < 1e-5
    assert float((tokens[::2] - tokens[1::2]).abs().max()) > 0.5


def test_a_token_that_shows_nothing_is_as_large_as_the_others() -> None:
    tokens = torch.randn(4, 6, 3, 16)
    tokens[:, :, 1] = 0.0
    tokens[:, 2] = 5.1
    joined = joined_tokens(tokens, np.arange(4))
    assert joined.mean(-1).abs().max() < 1e-6
    square = joined.square().sum(-1)
    assert torch.allclose(square, square[0, 0, 0], rtol=1e-5)
    assert joined[..., :16].abs().sum(-1).eq(0).sum() > 0


@pytest.mark.parametrize("dtype", ["float16", "int8", "int8-channel"])
@pytest.mark.parametrize("name", MAPS)
def test_streamed_tokens_are_those_in_memory(name: str, dtype: Dtype, tmp_path: Path) -> None:
    store = random_store(tmp_path / "s", 6, dtype=dtype)
    task = task_of(store, TaskConfig(name=name))
    samples = task.epoch(0, 0)
    resident = Resident(store, task.clips, CPU, CPU).gather(task, samples).float()
    streamed = Streamed(store, CPU).gather(task, samples).float()
    assert torch.equal(resident, streamed)
    if name != "twins":
        clip, step = samples.clips(task.length)[3], samples.frames(task.length)[3]
        want = [store.read_floats([task.clips[c]])[0][s] for c, s in zip(clip, step, strict=True)]
        assert torch.equal(resident[3], torch.from_numpy(np.stack(want)).float())
