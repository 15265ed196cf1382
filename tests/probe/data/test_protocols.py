"""Zero-shot, few-shot and base-to-novel on a made-up CLIP's tokens, and text heads that learn."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from stepcli.cache.schema.clips import ClassRow, ClipRecord, ClipRow
from stepcli.cache.schema.spec import Producer, Segment, StoreSpec
from stepcli.cache.store.store import Store, create_store
from stepcli.probe.config import DataConfig, RunConfig, TaskConfig
from stepcli.probe.data.splits import labelled_clips, subsample
from stepcli.probe.data.text import StoreText, stored_texts
from stepcli.probe.runs.metrics import base_to_novel
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.errors import DamagedStore, UsageError

LABELS = ("walk", "run", "jump", "sit", "stand", "fall")
DIM, TEXT = 32, 16


@pytest.fixture
def clip_store(tmp_path: Path, text_of: Callable[..., StoreText]) -> Store:
    """A store of CLS and patches whose CLS lies where the tower puts its label, and noise."""
    segments = (
        Segment(name="cls", kind="prefix", count=1),
        Segment(name="grid2", kind="grid", count=4, grid=(2, 2)),
    )
    spec = StoreSpec(
        backbone="made-up",
        weights_digest="0" * 64,
        segments=segments,
        dim=DIM,
        frames=3,
        sampling="uniform",
        preprocessing={},
        dtype="float32",
    )
    place = tmp_path / "store"
    store = create_store(place, spec, dataset="made-up")
    text = text_of(LABELS, store=place, dim=TEXT, vision_dim=DIM, units=7)
    back = torch.linalg.pinv(text.tensors["cls_projection"])
    random = np.random.default_rng(0)
    rows = []
    with store.writer(Producer(source="r", device="cpu", numerics="f", versions={})) as writer:
        for index, label in enumerate(LABELS):
            for number in range(12):
                split = "test" if number % 3 == 2 else "train"
                rows.append(ClipRow(f"{label}/{number}", label, split, group=f"g{number}"))
                tokens = random.normal(size=(3, 5, DIM)) * 0.2
                tokens += (back @ text.labels(LABELS)[index]).numpy() * 4
                record = ClipRecord(rows[-1].id, "made up", (0.0, 1.0, 2.0), 3, 8, 8)
                writer.add(record, tokens.astype(np.float32))
    store.add_clips(rows)
    store.replace_classes([ClassRow(label, index) for index, label in enumerate(LABELS)])
    store.refresh()
    return store


def run(store: Store, runs: Path, method: str, task: TaskConfig, **shared: int) -> RunRecord:
    options = {"lr": 1e-2} if method in ("xclip", "asu") else {}
    config = run_configs(method, [options], {}, task, DataConfig(**shared), [0])[0]
    assert isinstance(config, RunConfig)
    (record,) = Session(Path(str(store.path)), runs, "cpu").run([config])
    return record


def test_zero_shot_and_concept_spotting_need_no_training_clip(
    clip_store: Store, tmp_path: Path
) -> None:
    for method in ("zero-shot", "vcs"):
        record = run(clip_store, tmp_path / "runs", method, TaskConfig())
        assert record.top1 > 0.9, method
        assert record.losses == []


@pytest.mark.parametrize("method", ["xclip", "asu"])
def test_heads_with_texts_learn(method: str, clip_store: Store, tmp_path: Path) -> None:
    record = run(clip_store, tmp_path / "runs", method, TaskConfig(), epochs=15, batch_size=16)
    losses = record.losses
    assert losses[-1] < 0.7 * losses[0]
    assert record.top1 > 0.9


def test_base_to_novel_trains_on_half_and_tests_both(clip_store: Store, tmp_path: Path) -> None:
    task = TaskConfig(protocol="base-to-novel", shots=4, draw_seed=0)
    session = Session(Path(str(clip_store.path)), tmp_path / "runs", "cpu")
    made = session.task(task)
    assert made.base_classes == 3
    assert {made.classes[i] for i in made.labels[: made.train_clips]} == set(LABELS[:3])
    assert made.train_clips == 12
    assert made.warnings == ()
    record = run(clip_store, tmp_path / "runs", "zero-shot", task)
    base, novel = record.base_top1, record.novel_top1
    assert min(base, novel) > 0.9
    assert record.harmonic == pytest.approx(2 * base * novel / (base + novel))
    trained = run(clip_store, tmp_path / "runs", "xclip", task, epochs=5)
    assert trained.base_top1 > 0.5
    with pytest.raises(UsageError, match=r"linear does not know .* use .* xclip"):
        run(clip_store, tmp_path / "runs", "linear", task)
    with pytest.raises(UsageError, match="classify"):
        session.task(TaskConfig(protocol="base-to-novel", name="arrow", pairs=(("walk", "run"),)))


def test_each_half_is_told_apart_among_itself(clip_store: Store, tmp_path: Path) -> None:
    session = Session(Path(str(clip_store.path)), tmp_path / "runs", "cpu")
    task = session.task(TaskConfig(protocol="base-to-novel"))
    logits = torch.zeros(1, len(task.test), 6)
    logits[..., [1, 4]] = torch.tensor([3.0, 9.0])
    predicted = task.combine(logits)[0].argmax(-1).numpy()
    assert np.array_equal(predicted, np.where(task.test.label < 3, 1, 4))
    labels = np.array([0, 1, 3, 3])
    scores = base_to_novel(np.eye(6)[[0, 0, 3, 4]], labels, 3)
    assert scores == {"base_top1": 0.5, "novel_top1": 0.5, "harmonic": 0.5}


def test_few_shot_lists_are_nested_and_differ_by_seed(clip_store: Store) -> None:
    table = labelled_clips(clip_store, "train", "test")
    kept = {k: {row.id for row in subsample(table, 1.0, k, 3).train} for k in (2, 4, 8)}
    assert kept[2] < kept[4] < kept[8]
    assert [len(kept[k]) for k in (2, 4, 8)] == [12, 24, 48]
    assert kept[2] != {row.id for row in subsample(table, 1.0, 2, 4).train}


def test_other_texts_are_another_run(clip_store: Store, tmp_path: Path) -> None:
    """Methods that read texts are known by them, the others by the tokens alone."""
    place = Path(str(clip_store.path))
    configs = [
        run_configs(m, [{}], {}, TaskConfig(), DataConfig(), [0])[0] for m in ("xclip", "linear")
    ]
    before = [Session(place, tmp_path, "cpu").name(config) for config in configs]
    facts = place / "text" / "made-up" / "text.json"
    facts.write_text(facts.read_text().replace(stored_texts(place)[0].sha256, "0" * 64))
    after = [Session(place, tmp_path, "cpu").name(config) for config in configs]
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_damaged_texts_are_refused(clip_store: Store) -> None:
    place = Path(str(clip_store.path))
    (text,) = stored_texts(place)
    file = text.folder / "text.safetensors"
    tensors = load_file(file)
    file.write_bytes(save(tensors | {"labels": tensors["labels"] * 2}))
    with pytest.raises(DamagedStore, match="digest"):
        text.labels(LABELS)
    (text.folder / "text.json").write_text("{}")
    with pytest.raises(DamagedStore, match="sha256 is None; extract --text again"):
        stored_texts(place)


def test_texts_say_what_they_lack(clip_store: Store) -> None:
    (text,) = stored_texts(Path(str(clip_store.path)))
    with pytest.raises(UsageError, match="no text embedding of class 'swim'"):
        text.labels(("walk", "swim"))
