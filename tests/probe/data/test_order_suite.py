"""The order suite: what its samples show, and that their nulls hold, on stores of random tokens."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_methods import small_options

from stepcli.cache.schema.clips import ClassRow, ClipRecord, ClipRow
from stepcli.cache.schema.spec import Dtype, Producer, Segment, StoreSpec
from stepcli.cache.store.store import Store, create_store
from stepcli.probe.analysis.order_tests import run_order_tests
from stepcli.probe.config import DataConfig, OptimConfig, RunConfig, TaskConfig
from stepcli.probe.config.task import ORDER_SUITE
from stepcli.probe.data.features import Resident, Streamed, task_layout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.order_maps import ORDER_MAPS
from stepcli.probe.data.slices import held_out, in_folds
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.tasks import Samples, Task
from stepcli.probe.data.twins import EXTRA, joined_tokens
from stepcli.probe.methods.registry import methods
from stepcli.probe.nn.pooling import PooledProbe
from stepcli.probe.training.banks import build_probe
from stepcli.probe.training.train import train
from stepcli.runtime.errors import UsageError

CPU = torch.device("cpu")
MAPS = sorted(ORDER_MAPS)
PARTNERS = {"open": "close", "close": "open", "push": "pull", "pull": "push"}
FRAMES = (3, 9, 16)


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


def blind_methods() -> list[str]:
    """Those that do not see order at their defaults and need nothing beside tokens."""
    known = methods()
    infos = [known.get(name) for name in known.names()]
    return [info.name for info in infos if not info.order_aware and not info.needs]


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("name", ORDER_SUITE)
def test_every_order_blind_method_is_at_the_null(name: str, padded: bool, tmp_path: Path) -> None:
    """Trained on random tokens, so the most it can have learned is chance."""
    store = random_store(tmp_path / "s", 7, padded=padded)
    task = task_of(store, TaskConfig(name=name))
    features = Resident(store, task.clips, CPU, CPU)
    shared = DataConfig(epochs=2, batch_size=16)
    configs = [
        RunConfig(
            method=method,
            options=small_options(methods().get(method)),
            task=TaskConfig(name=name),
            recipe=OptimConfig(lr=1e-2),
            shared=shared,
        )
        for method in blind_methods()
    ]
    assert len(configs) >= 7
    layout = task_layout(store, task)
    for trained in train(
        features, layout, task, configs, lambda report: None, say=lambda line: None
    ):
        forward, backward = trained.logits[::2], trained.logits[1::2]
        gap = float((forward - backward).abs().max())
        assert gap < 2e-4, (trained.config.method, gap)


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


def test_no_method_that_reads_mean_tokens_sees_twins(tmp_path: Path) -> None:
    """With the weights it starts from, its logits are those of the other label."""
    store = random_store(tmp_path / "s", 8)
    config = TaskConfig(name="twins")
    task = task_of(store, config)
    features = Resident(store, task.clips, CPU, CPU)
    layout = task_layout(store, task)
    batch, _ = next(features.batches(task, task.test, len(task.test)))
    seen = []
    for name in methods().names():
        info = methods().get(name)
        if info.needs or name in ("knn", "prototype", "duration"):
            continue
        run = RunConfig(method=name, options=small_options(info), task=config)
        probe = build_probe(run, layout, len(task.classes)).eval()
        with torch.no_grad():
            logits = probe(batch)[0]
        gap = float((logits[::2] - logits[1::2]).abs().max())
        if isinstance(probe, PooledProbe):
            assert gap < 1e-4, (name, gap)
            seen.append(name)
        elif name == "step":
            assert gap > 1e-3
    assert {"linear", "first-last", "concat", "dct", "gru", "trn", "tsm"} <= set(seen)


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


@pytest.mark.parametrize("name", MAPS)
def test_order_tests_flip_to_the_partner_or_not_at_all(name: str, tmp_path: Path) -> None:
    store = random_store(tmp_path / "s", 8)
    config = TaskConfig(name=name)
    task = task_of(store, config)
    layout = task_layout(store, task)
    run = RunConfig(method="linear", options={}, task=config)
    probe = build_probe(run, layout, len(task.classes)).eval()
    features = Resident(store, task.clips, CPU, CPU)
    (tests,) = run_order_tests([probe], features, task)
    assert tests.orders["reversed"].moved < 1e-5


def test_a_store_without_pairs_is_asked_for_the_direction(tmp_path: Path) -> None:
    store = random_store(tmp_path / "s", 8, paired=False)
    for name in ORDER_SUITE:
        with pytest.raises(UsageError, match="or ask for the direction alone"):
            task_of(store, TaskConfig(name=name))
        task = task_of(store, TaskConfig(name=name, answer="direction"))
        assert (task.classes, task.pairs) == (("forward", "backward"), ((0, 1),))
        assert np.array_equal(task.test.label == 1, task.test.backward)
    assert TaskConfig(name="arrow").model_dump().keys() == TaskConfig().model_dump().keys()
    assert "answer" not in TaskConfig().model_dump()


@pytest.mark.parametrize("name", MAPS)
def test_wrong_use_is_refused(name: str, store_of: Callable[..., Store], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"the {name} task .* \(token_scope: clip\)"):
        task_of(store_of(tmp_path / "clip", scope="clip"), TaskConfig(name=name))
    least = ORDER_MAPS[name].least_stored
    few = random_store(tmp_path / "few", least - 1)
    with pytest.raises(UsageError, match=f"--task {name} needs at least {least} stored frames"):
        task_of(few, TaskConfig(name=name))
    store = random_store(tmp_path / "s", 8)
    with pytest.raises(UsageError, match=f"--clip-frames 1: --task {name} shows at least"):
        task_of(store, TaskConfig(name=name, clip_frames=1))
    with pytest.raises(UsageError, match=f"--temporal-crop: --task {name} arranges the frames"):
        TaskConfig(name=name, clip_frames=8, temporal_crop=True)
    with pytest.raises(UsageError, match=f"the {name} task pairs them"):
        task_of(store, TaskConfig(name=name, protocol="base-to-novel"))
    with pytest.raises(UsageError, match="--task classify does not"):
        task_of(store, TaskConfig(answer="direction"))


def test_few_clips_are_refused_or_reported(tmp_path: Path) -> None:
    config = TaskConfig(name="distractors")
    with pytest.raises(UsageError, match="split 'train' has 2 clips of paired classes; it needs 3"):
        task_of(random_store(tmp_path / "few", 8, clips=5), config)
    one_pair = random_store(tmp_path / "one", 8, labels=("close", "open"))
    warnings = task_of(one_pair, config).warnings
    assert "distractors of split 'train' are clips of the same pair: it has no other" in warnings
    padded = random_store(tmp_path / "padded", 8, padded=True)
    (warning,) = task_of(padded, TaskConfig(name="sawtooth")).warnings
    assert "with fewer than 3 real frames: sawtooth shows the same frames" in warning
