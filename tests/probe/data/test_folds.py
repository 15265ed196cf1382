"""All folds in one pass: members of one bank that each leave out a fold of the training clips."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_methods import small_options

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, OptimConfig, RunConfig, TaskConfig
from stepcli.probe.data.features import Resident, task_layout
from stepcli.probe.data.tasks import Task
from stepcli.probe.data.text import StoreText
from stepcli.probe.methods.registry import methods
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.record import read_run
from stepcli.probe.sweeps.holding import on_fold
from stepcli.probe.sweeps.session import Session
from stepcli.probe.training.banks import make_banks
from stepcli.probe.training.train import Trained, train

CPU = torch.device("cpu")
FOLDS = 3
NAMES = methods().names()
ARROW = TaskConfig(name="arrow", clip_frames=4, temporal_crop=True)
RECIPE = OptimConfig(lr=1e-2, class_balance=0.9, logit_adjust=0.5)
"""Of what depends on the number of training clips per class."""


@pytest.fixture
def store(
    tmp_path: Path, store_of: Callable[..., Store], text_of: Callable[..., StoreText]
) -> Store:
    """24 training clips in 12 groups, with what any method reads."""
    made = store_of(tmp_path / "store", clips_each=18, cls=True, layers=(-2, -1))
    text_of(("close", "open"), store=made.path, dim=8, vision_dim=16)
    return made


def config(method: str, fold: int, seed: int = 0, **shared: object) -> RunConfig:
    info = methods().get(method)
    plain = RunConfig(
        method=method,
        options=small_options(info),
        task=ARROW,
        recipe=RECIPE if info.name != "lift" else OptimConfig(lr=1e-2),
        shared=DataConfig.model_validate({"epochs": 2, "batch_size": 8} | shared),
        seed=seed,
    )
    return on_fold(plain, FOLDS, fold)


def trained_on(
    session: Session, configs: list[RunConfig], spoilt: int | None = None
) -> list[Trained]:
    """Train a pass, with other tokens for the clips of one fold."""
    task = session.task(configs[0].task.of_pass)
    features = Resident(session.store, tuple(dict.fromkeys(task.clips)), CPU, CPU)
    if spoilt is not None:
        assert task.fold_of is not None
        clips = {task.clips[i] for i in np.flatnonzero(task.fold_of == spoilt)}
        rows = [row for row, clip in enumerate(dict.fromkeys(task.clips)) if clip in clips]
        features.tokens[rows] = torch.randn_like(features.tokens[rows]) * 3
    layout = task_layout(session.store, task)
    return train(features, layout, task, configs, lambda report: None, say=lambda _: None)


def weights(one: Trained) -> torch.Tensor:
    return torch.cat([t.flatten().double() for t in one.probe.state_dict().values()])


@pytest.mark.parametrize(
    ("names", "shared"),
    [(NAMES, {"epochs": 1}), (["linear", "lift", "step"], {"mixup": 0.4, "accumulate": 2})],
    ids=["plain", "mixup"],
)
def test_no_method_sees_the_fold_that_it_holds_out(
    names: list[str], shared: dict[str, object], store: Store, tmp_path: Path
) -> None:
    session = Session(store.path, tmp_path, "cpu")
    configs = [config(name, fold, **shared) for name in names for fold in (0, 1)]
    before, after = trained_on(session, configs), trained_on(session, configs, spoilt=1)
    learned = 0
    for one, other in zip(before, after, strict=True):
        same = torch.equal(weights(one), weights(other))
        if one.config.task.fold == 1:
            assert same, one.config.method
        else:
            learned += not same
    # The others saw it where they held out another, but for those that take nothing from tokens.
    assert learned == len(set(names) - {"zero-shot", "vcs", "duration"})


def test_a_fold_in_a_bank_is_what_it_is_alone(store: Store, tmp_path: Path) -> None:
    session = Session(store.path, tmp_path, "cpu")
    names = ["linear", "lift", "prototype"]
    configs = [config(name, fold, seed) for name in names for fold in range(3) for seed in (0, 1)]
    for place, together in enumerate(trained_on(session, configs)):
        (alone,) = trained_on(session, [configs[place]])
        assert together.logits == pytest.approx(alone.logits, abs=1e-5)
        assert weights(together) == pytest.approx(weights(alone), abs=1e-5)
        assert together.losses == pytest.approx(alone.losses, rel=1e-4)


def test_parts_of_a_batch_have_the_gradient_of_the_whole(store: Store, tmp_path: Path) -> None:
    session = Session(store.path, tmp_path, "cpu")
    whole = trained_on(session, [config("first-last", fold) for fold in range(FOLDS)])
    parts = trained_on(session, [config("first-last", fold, accumulate=4) for fold in range(FOLDS)])
    for one, other in zip(whole, parts, strict=True):
        assert weights(one) == pytest.approx(weights(other), abs=1e-4)


def test_points_and_folds_share_one_pass_and_one_bank(store: Store, tmp_path: Path) -> None:
    session = Session(store.path, tmp_path, "cpu")
    rates = (1e-3, 1e-2)
    configs = [
        config("linear", fold, seed).model_copy(update={"recipe": OptimConfig(lr=lr)})
        for lr in rates
        for seed in (0, 1)
        for fold in range(FOLDS)
    ]
    (plan,) = session.plan(configs)
    (bank,) = plan.banks
    assert bank.members == len(rates) * 2 * FOLDS
    task = session.task(configs[0].task.of_pass)
    counts = task.fold_counts
    assert counts is not None
    made = make_banks(configs, task_layout(store, task), 4, torch.from_numpy(counts), CPU, 1)
    assert [each.probe.members for each in made] == [bank.members]
    # Without gradients each fold reads its own samples.
    fitted = [config("knn", fold) for fold in range(FOLDS)]
    made = make_banks(fitted, task_layout(store, task), 4, torch.from_numpy(counts), CPU, 1)
    assert [each.probe.members for each in made] == [1] * FOLDS


def test_a_pass_over_folds_is_their_tasks_together(store: Store, tmp_path: Path) -> None:
    session = Session(store.path, tmp_path, "cpu")
    every = session.task(config("linear", 0).task.of_pass)
    assert every.fold_of is not None
    assert every.fold_counts is not None
    assert every.leakage.warnings == every.warnings == ()
    tested = every.folds_of(every.test)
    assert tested is not None
    for fold in range(FOLDS):
        own = session.task(config("linear", fold).task)
        assert own.fold_of is None
        assert every.fold_counts[fold].tolist() == own.class_counts.tolist()
        assert names_of(every, tested == fold) == names_of(own, np.ones(len(own.test), bool))


def names_of(task: Task, chosen: np.ndarray) -> list[tuple[str, int, bool, int]]:
    """Of the chosen test samples: clip, start, direction, label."""
    test = task.test[np.flatnonzero(chosen)]
    return [
        (task.clips[clip], int(start), bool(backward), int(label))
        for clip, start, backward, label in zip(
            test.clip, test.start, test.backward, test.label, strict=True
        )
    ]


def test_runs_on_folds_say_what_they_were_trained_and_tested_on(
    store: Store, tmp_path: Path
) -> None:
    session = Session(store.path, tmp_path / "runs", "cpu")
    configs = [config("first-last", fold) for fold in range(FOLDS)]
    records = session.run(configs)
    clips: list[str] = []
    for record, each in zip(records, configs, strict=True):
        said = read_predictions(tmp_path / "runs" / record.run)
        task = session.task(each.task)
        assert said.samples == [name[:3] for name in names_of(task, np.ones(len(task.test), bool))]
        assert record.top1 == pytest.approx(said.correct.mean())
        assert record.test_samples == len(said.clips)
        assert record.train_clips == task.train_clips == 24 - len(set(said.clips))
        assert record == read_run(tmp_path / "runs" / record.run / "run.json")
        clips += sorted(set(said.clips))
    assert len(clips) == len(set(clips)) == 24
    # Killed after two of three: the third alone is trained, and comes out the same.
    last = tmp_path / "runs" / records[2].run
    kept = read_predictions(last).logits
    for path in last.iterdir():
        path.unlink()
    last.rmdir()
    session.run(configs)
    assert read_predictions(last).logits == pytest.approx(kept, abs=1e-5)


def test_a_strict_session_takes_folds_for_what_they_are(store: Store, tmp_path: Path) -> None:
    session = Session(store.path, tmp_path, "cpu", strict=True)
    rows = store.clips()
    store.replace_clips([replace(row, group=row.id) for row in rows])
    assert session.run([config("linear", fold) for fold in range(FOLDS)])
