"""Samples: what is shown, in which direction, under which label, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.store.store import Store
from stepcli.probe.config import TaskConfig
from stepcli.probe.data.features import Resident
from stepcli.probe.data.frame_choice import spread
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.tasks import Task
from stepcli.probe.runs.pairs import read_pairs
from stepcli.runtime.errors import UnknownName, UsageError

CPU = torch.device("cpu")
CROPS = TaskConfig(name="arrow", clip_frames=4, temporal_crop=True)


def task_of(store: Store, config: TaskConfig) -> Task:
    return make_task(config, store, labelled_clips(store, config.train_split, config.test_split))


def test_an_epoch_shows_every_training_clip_in_both_directions(store: Store) -> None:
    task = task_of(store, CROPS)
    samples = task.epoch(data_seed=0, epoch=0)
    shown = sorted(zip(samples.clip.tolist(), samples.backward.tolist(), strict=True))
    assert shown == [(clip, way) for clip in range(task.train_clips) for way in (False, True)]
    forward = task.labels[samples.clip]
    assert np.array_equal(samples.label, np.where(samples.backward, 1 - forward, forward))
    assert samples.start.min() >= 0
    assert samples.start.max() <= 2


def test_epochs_differ_and_repeat(store: Store) -> None:
    task = task_of(store, CROPS)
    first, again, second = (task.epoch(0, epoch) for epoch in (0, 0, 1))
    for field in ("clip", "start", "backward", "label"):
        assert np.array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(first.clip, second.clip)
    assert not np.array_equal(first.clip, task.epoch(1, 0).clip)


def test_tested_on_first_middle_and_last_crop_in_both_directions(store: Store) -> None:
    task = task_of(store, CROPS)
    clips = len(task.clips) - task.train_clips
    assert len(task.test) == clips * 3 * 2
    assert task.test.start[:6].tolist() == [0, 0, 1, 1, 2, 2]
    assert task.test.backward[:6].tolist() == [False, True] * 3
    frames = task.test.frames(4)
    assert frames[0].tolist() == [0, 1, 2, 3]
    assert frames[1].tolist() == [3, 2, 1, 0]
    assert set(task.test.clip.tolist()) == set(range(task.train_clips, len(task.clips)))


def test_a_batch_holds_the_stored_frames_in_the_order_shown(store: Store) -> None:
    task = task_of(store, CROPS)
    features = Resident(store, task.clips, CPU, CPU)
    batch = next(features.batches(task, task.test, 100))[0]
    for row in (0, 1, 5):
        clip = store.read([task.clips[task.test.clip[row]]])[0]
        want = torch.from_numpy(clip[task.test.frames(4)[row]])
        assert torch.equal(batch.stored[row], want)


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16", "int8"])
def test_tokens_in_memory_are_those_stored(
    dtype: str, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / dtype, dtype=dtype)
    task = task_of(store, TaskConfig())
    features = Resident(store, task.clips, CPU, CPU)
    samples = task.epoch(0, 0)
    want = torch.from_numpy(store.read_floats([task.clips[clip] for clip in samples.clip]))
    assert torch.equal(features.gather(task, samples).float(), want)
    assert features.tokens.element_size() == {"float32": 4, "int8": 1}.get(dtype, 2)


def test_classify_shows_whole_clips_forward(store: Store) -> None:
    task = task_of(store, TaskConfig())
    samples = task.epoch(0, 0)
    assert sorted(samples.clip.tolist()) == list(range(task.train_clips))
    assert not samples.backward.any()
    assert set(samples.start.tolist()) == {0}
    assert len(task.test) == len(task.clips) - task.train_clips
    assert task.pairs == ((0, 1),)


def test_classes_without_partner_are_left_out_of_the_arrow(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "s", labels=("close", "open", "wave"))
    task = task_of(store, TaskConfig(name="arrow"))
    assert task.classes == ("close", "open")
    (warning,) = task.warnings
    assert warning.startswith("6 clips are left out of the task")


def test_irreversible_classes_are_left_out_of_the_arrow(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    partners = {"close": "open", "open": "close", "fold": "unfold", "unfold": "fold"}
    store = store_of(tmp_path / "s", labels=("close", "open", "fold", "unfold"), partners=partners)
    kinds = {"fold": "irreversible"}
    store.replace_classes([replace(row, kind=kinds.get(row.name, "")) for row in store.classes()])
    assert task_of(store, TaskConfig(name="arrow")).classes == ("close", "open")
    # Pairs that the user gives are the user's word.
    assert task_of(store, TaskConfig(name="arrow", pairs=(("unfold", "fold"),))).pairs == ((1, 0),)


def test_the_users_pairs_replace_the_stores(store_of: Callable[..., Store], tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", labels=("close", "open", "push", "pull"))
    task = task_of(store, TaskConfig(name="arrow", pairs=(("pull", "push"),)))
    assert task.classes == ("push", "pull")
    assert task.pairs == ((1, 0),)
    with pytest.raises(UnknownName, match="label in pairs 'pul'; did you mean pull"):
        task_of(store, TaskConfig(name="arrow", pairs=(("pul", "push"),)))


def test_classes_that_only_test_has_are_counted(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(
        tmp_path / "s", labels=("close", "open", "wave"), partners={}, test_only=("wave",)
    )
    (warning,) = task_of(store, TaskConfig()).warnings
    assert warning == "1 class (6 test samples) is in test but not in train: wave"


def test_an_empty_split_lists_those_that_are_there(store: Store) -> None:
    with pytest.raises(UsageError, match=r"split 'val' .* holds: test 4, train 8"):
        labelled_clips(store, "train", "val")


def test_clips_that_are_not_extracted_are_counted(store: Store) -> None:
    store.add_clips([ClipRow("later", "open", "test")])
    assert labelled_clips(store, "train", "test").warnings == (
        "1 of 5 clips of split 'test' are not in the store",
    )


def test_reversing_needs_tokens_of_single_frames(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="token_scope: clip"):
        task_of(store_of(tmp_path / "s", scope="clip"), TaskConfig(name="arrow"))


def test_the_arrow_needs_pairs(store_of: Callable[..., Store], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --pairs FILE"):
        task_of(store_of(tmp_path / "s", partners={}), TaskConfig(name="arrow"))


def test_more_frames_than_stored_are_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="store has 6 frames"):
        task_of(store, TaskConfig(clip_frames=7, temporal_crop=True))
    with pytest.raises(UsageError, match="needs a length"):
        TaskConfig(temporal_crop=True)


def test_pairs_are_read_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("label,partner\nopen,close\nclose,open\npush,pull\n")
    assert read_pairs(path) == (("close", "open"), ("pull", "push"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\nopen,close\n", "expected the columns label,partner, found a,b"),
        ("", "found nothing"),
        ("label,partner\nopen,close\nopen,shut\n", "'open' is paired with 'shut' and with 'close'"),
        ("label,partner\nopen,open\n", "'open' is paired with 'open'"),
        ("label,partner\nopen\n", "line 2: expected the 2 cells of the header, found 1"),
    ],
)
def test_bad_pairs_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_pairs(path)
    with pytest.raises(UsageError, match="expected a CSV file"):
        read_pairs(tmp_path / "nowhere.csv")


def test_spread_frames_are_the_same_from_either_end() -> None:
    for stored in range(1, 33):
        for length in range(1, stored + 1):
            frames = spread(stored, length)
            assert len(set(frames.tolist())) == length
            assert (np.diff(frames) > 0).all()
            if length % 2 <= stored % 2:
                assert (stored - 1 - frames[::-1] == frames).all()


def test_jitter_takes_one_frame_of_each_stretch(store: Store) -> None:
    task = task_of(store, TaskConfig(clip_frames=3, jitter=True))
    shown = np.concatenate([task.epoch(0, epoch).frames(3) for epoch in range(20)])
    assert {tuple(column) for column in (shown // 2).tolist()} == {(0, 1, 2)}
    assert len(np.unique(shown)) == 6
    assert task.test.frames(3).tolist() == [spread(6, 3).tolist()] * 4


def test_early_recognition_sees_the_first_frames_alone(store: Store) -> None:
    task = task_of(store, TaskConfig(observed=0.5))
    assert task.length == 3
    assert task.epoch(0, 0).frames(3).max() == task.test.frames(3).max() == 2


def test_training_draws_one_view_and_a_test_swaps_flipped_classes_back(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    views = ("center", "flip-center", "crop0", "crop1", "crop2")
    store = store_of(tmp_path / "s", views=views)
    table = labelled_clips(store, "train", "test")
    partner = {"open": "close", "close": "open"}

    def flipped(rows: tuple[ClipRow, ...]) -> tuple[ClipRow, ...]:
        return tuple(
            replace(row, label=partner[row.label]) if "@flip" in row.id else row for row in rows
        )

    table = replace(table, train=flipped(table.train), test=flipped(table.test))
    task = make_task(TaskConfig(), store, table)
    assert (task.train_clips, task.samples_per_epoch, len(task.test)) == (8, 8, 4)
    drawn = [task.clips[row] for epoch in range(20) for row in task.epoch(0, epoch).clip]
    assert {clip.partition("@")[2] for clip in drawn} == {"crop0", "crop1", "crop2"}
    assert len(task.shown) == 8
    logits = torch.nn.functional.one_hot(torch.from_numpy(task.shown.label), 2)[None] * 5.0
    combined = task.combine(logits)
    assert combined.argmax(2)[0].tolist() == task.test.label.tolist()
    assert {task.clips[row].partition("@")[2] for row in task.test.clip} == {"center"}
    one = make_task(TaskConfig(views=1, test_views=False), store, table)
    assert len(one.shown) == 4
    assert set(one.train_views.tolist()) == {1}


def test_shuffled_frames_are_the_same_frames(store: Store) -> None:
    task = task_of(store, TaskConfig(frame_order="shuffled"))
    frames = task.epoch(0, 0).frames(6)
    assert (np.sort(frames, axis=1) == np.arange(6)).all()
    assert (frames != np.arange(6)).any()
    assert (task.test.frames(6) == np.arange(6)).all()


def test_one_direction_is_trained_and_both_are_tested(store: Store) -> None:
    arrow = TaskConfig(name="arrow", directions="backward")
    task = task_of(store, arrow)
    assert task.epoch(0, 0).backward.all()
    assert task.samples_per_epoch == task.train_clips == 8
    assert task.test.backward.sum() * 2 == len(task.test)
    assert task.class_counts.tolist() == [4, 4]


def test_padding_is_masked_at_the_end(store_of: Callable[..., Store], tmp_path: Path) -> None:
    store = store_of(tmp_path / "padded", sampling="uniform+pad", distinct=4)
    whole = task_of(store, TaskConfig(name="arrow"))
    features = Resident(store, whole.clips, CPU, CPU)
    (batch, _), *_ = features.batches(whole, whole.shown, len(whole.shown))
    assert batch.frame_mask is not None
    # At the end in both directions: at the start it would say which one it is.
    assert batch.frame_mask.tolist() == [[True] * 4 + [False] * 2] * len(whole.shown)
    # A crop that is all padding shows the last frame standing still: every step counts.
    crops = task_of(store, TaskConfig(clip_frames=2, temporal_crop=True))
    (batch, _), *_ = features.batches(crops, crops.shown, len(crops.shown))
    assert batch.frame_mask is None
    crops = task_of(store, TaskConfig(clip_frames=3, temporal_crop=True))
    (batch, _), *_ = features.batches(crops, crops.shown, len(crops.shown))
    assert batch.frame_mask is not None
    assert {tuple(row) for row in batch.frame_mask.tolist()} == {
        (True, True, True),
        (True, False, False),
    }


def test_a_layer_that_is_not_stored_is_refused_with_those_that_are(store: Store) -> None:
    with pytest.raises(UsageError, match="layer=-7: the store holds layers -1"):
        task_of(store, TaskConfig(layer=-7))


def test_pairs_without_a_clip_are_refused(store: Store) -> None:
    table = labelled_clips(store, "train", "test")
    lonely = replace(table, test=tuple(row for row in table.test if row.label == "nothing"))
    with pytest.raises(UsageError, match="no test clip has a label of the pairs"):
        make_task(TaskConfig(name="arrow"), store, lonely)
