"""Where tokens go, how banks are split, and that a killed pass resumes."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, RunConfig, TaskConfig
from stepcli.probe.data.features import Resident, task_layout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.placement import free_bytes, place_features, token_bytes
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.streamed import Streamed
from stepcli.probe.data.tasks import Task
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.session import Session
from stepcli.probe.training.banks import Bank, make_banks
from stepcli.probe.training.checkpoint import Checkpoint
from stepcli.probe.training.memory import OutOfMemory
from stepcli.probe.training.plan import make_plan
from stepcli.probe.training.process import tune_process
from stepcli.probe.training.train import EpochReport, Trained, train
from stepcli.runtime.preemption import Preempted, heed_sigterm

CPU = torch.device("cpu")
ARROW = TaskConfig(name="arrow", clip_frames=4, temporal_crop=True)


def task_on(store: Store) -> Task:
    return make_task(ARROW, store, labelled_clips(store, "train", "test"))


def configs_of(epochs: int = 6) -> list[RunConfig]:
    shared = DataConfig(epochs=epochs, batch_size=4)
    tried = [{"lr": 1e-3, "heads": 4}, {"lr": 1e-2, "heads": 4}, {"lr": 1e-2, "heads": 2}]
    steps = run_configs("step", tried, {"clip_norm": 0.5}, ARROW, shared, range(2))
    return [*steps, *run_configs("linear", [{}], {}, ARROW, shared, range(2))]


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_streamed_batches_are_the_resident_ones(
    dtype: str, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / dtype, dtype=dtype)
    task = task_on(store)
    resident, streamed = Resident(store, task.clips, CPU, CPU), Streamed(store, CPU)
    samples = task.epoch(0, 0)
    pairs = zip(resident.batches(task, samples, 3), streamed.batches(task, samples, 3), strict=True)
    for (kept, labels), (read, same_labels) in pairs:
        assert torch.equal(kept.raw, read.raw)
        assert torch.equal(labels, same_labels)


def test_tokens_that_do_not_fit_are_streamed_and_it_is_said(store: Store) -> None:
    clips = tuple(store.ids)
    size = token_bytes(store, len(clips))
    assert size == store.read(clips).nbytes
    features, line = place_features(store, clips, CPU, {"cpu": 2 * size})
    assert isinstance(features, Resident)
    assert line.endswith("12 clips in memory")
    features, line = place_features(store, clips, CPU, {"cpu": size})
    assert isinstance(features, Streamed)
    assert "do not fit" in line


def test_free_memory_is_a_sane_number() -> None:
    assert 1 << 26 < free_bytes(CPU) < 1 << 50


def test_probes_that_do_not_fit_together_are_split(store: Store) -> None:
    configs = configs_of()
    whole = make_plan(configs, store, lambda config: task_on(store), 1 << 40)
    assert [len(plan.configs) for plan in whole] == [8]
    assert [(bank.method, bank.members) for bank in whole[0].banks] == [
        *(("step", 4), ("step", 2), ("linear", 2))
    ]
    room = 3 * 16 * whole[0].banks[0].parameters_each
    split = make_plan(configs, store, lambda config: task_on(store), room)
    assert [len(plan.configs) for plan in split] == [3, 3, 2]
    assert [config for plan in split for config in plan.configs] == configs
    tiny = make_plan(configs, store, lambda config: task_on(store), 1)
    assert [len(plan.configs) for plan in tiny] == [1] * 8


class _KilledError(Exception):
    pass


def _train(
    store: Store, configs: list[RunConfig], checkpoint: Checkpoint | None, stop_after: int
) -> list[Trained]:
    task = task_on(store)
    epochs = 0

    def progress(loss: float) -> None:
        nonlocal epochs
        epochs += 1
        if epochs == stop_after:
            raise _KilledError

    features = Resident(store, task.clips, CPU, CPU)
    return train(features, task_layout(store, task), task, configs, progress, checkpoint)


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_killed_pass_ends_as_if_undisturbed(
    stop_after: int, store: Store, tmp_path: Path
) -> None:
    configs = configs_of()
    want = _train(store, configs, None, stop_after=0)
    with pytest.raises(_KilledError):
        _train(store, configs, Checkpoint(tmp_path, ["a"], 0.0), stop_after)
    checkpoint = Checkpoint(tmp_path, ["a"], 0.0)
    assert checkpoint.path.is_file()
    got = _train(store, configs, checkpoint, stop_after=0)
    for mine, theirs in zip(got, want, strict=True):
        assert torch.equal(mine.logits, theirs.logits)
        assert mine.losses == theirs.losses
        for name, tensor in theirs.probe.state_dict().items():
            assert torch.equal(mine.probe.state_dict()[name], tensor)


@pytest.mark.usefixtures("own_sigterm")
def test_a_signal_ends_training_after_its_epoch_which_is_kept(store: Store, tmp_path: Path) -> None:
    heed_sigterm()
    configs = configs_of()
    task = task_on(store)
    features, layout = Resident(store, task.clips, CPU, CPU), task_layout(store, task)

    def preempt(report: EpochReport) -> None:
        if report.epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    # At most once an hour, but for the signal.
    checkpoint = Checkpoint(tmp_path, ["a"], 3600.0)
    with pytest.raises(Preempted):
        train(features, layout, task, configs, preempt, checkpoint)
    seen: list[int] = []
    got = train(features, layout, task, configs, lambda r: seen.append(r.epoch), checkpoint)
    want = _train(store, configs, None, stop_after=0)
    assert checkpoint.path.is_file()
    assert seen == [1, 2, 3, 4, 5, 6]
    assert all(torch.equal(a.logits, b.logits) for a, b in zip(got, want, strict=True))


@pytest.mark.usefixtures("own_sigterm")
def test_where_nothing_can_be_kept_a_signal_ends_training_after_its_step(store: Store) -> None:
    heed_sigterm()
    task = task_on(store)
    features, layout = Resident(store, task.clips, CPU, CPU), task_layout(store, task)
    epochs: list[int] = []

    def preempt(report: EpochReport) -> None:
        epochs.append(report.epoch)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted):
        train(features, layout, task, configs_of(), preempt)
    assert epochs == [1]


def test_a_damaged_checkpoint_starts_over(store: Store, tmp_path: Path) -> None:
    configs = configs_of(epochs=2)
    checkpoint = Checkpoint(tmp_path, ["a"], 0.0)
    checkpoint.path.parent.mkdir()
    checkpoint.path.write_bytes(b"\x10\0\0\0\0\0\0\0not a header")
    got = _train(store, configs, checkpoint, stop_after=0)
    want = _train(store, configs, None, stop_after=0)
    assert all(torch.equal(a.logits, b.logits) for a, b in zip(got, want, strict=True))


def test_a_checkpoint_is_gone_when_the_runs_are_there(store: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    session = Session(store.path, runs, "cpu")
    configs = configs_of(epochs=3)
    left_behind = Checkpoint(runs, [session.run_id(config) for config in configs])
    left_behind.path.parent.mkdir(parents=True)
    left_behind.path.write_bytes(b"")
    assert len(session.run(configs)) == 8
    assert not left_behind.path.exists()
    assert len(list(runs.glob("*/run.json"))) == 8


def test_a_pass_that_does_not_fit_is_trained_in_two(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """torch's own allocator refuses whenever more than `fitting` probes are to be made at once."""
    fitting = 2

    def greedy(configs: list[RunConfig], *rest: object) -> list[Bank]:
        if len(configs) > fitting:
            torch.empty(1 << 60)
        return make_banks(configs, *rest)

    *steps, first, second = configs_of(epochs=1)
    configs = [*steps[:2], first, second]
    want = Session(store.path, tmp_path / "fits", "cpu").run(configs)
    monkeypatch.setattr("stepcli.probe.training.train.make_banks", greedy)
    got = Session(store.path, tmp_path / "halved", "cpu").run(configs)
    assert "4 probes are trained in two passes instead" in capsys.readouterr().err
    assert [record.run for record in got] == [record.run for record in want]
    for mine, theirs in zip(got, want, strict=True):
        assert mine.losses == pytest.approx(theirs.losses, abs=1e-5)
    fitting = 0
    with pytest.raises(OutOfMemory, match="1 probes did not fit into memory"):
        Session(store.path, tmp_path / "never", "cpu").run(configs[2:])
    assert not list((tmp_path / "never").glob("*/run.json"))


def test_denormal_numbers_count_as_zero_once_tuned() -> None:
    tune_process()
    try:
        assert float(torch.tensor([1e-40]) * 1.0) == 0.0
    finally:
        torch.set_flush_denormal(False)
