"""Training on a GPU, on the virtual one: every method, one device, one wait per epoch."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_training import ARROW, CPU, CUDA, EPOCHS, assert_same, configs_of, run, trains_alike

from stepcli.cache.schema.spec import Dtype
from stepcli.cache.store.store import Store
from stepcli.probe.analysis.order_runs import keep_order_tests, kept_order_tests
from stepcli.probe.analysis.order_tests import OrderTests, run_order_tests
from stepcli.probe.config import OptimConfig, TaskConfig
from stepcli.probe.data.features import Resident, task_layout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.placement import free_bytes
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods
from stepcli.probe.methods.step import Step
from stepcli.probe.runs.configurations import configurations
from stepcli.probe.sweeps.progress import SweepProgress
from stepcli.probe.sweeps.session import Session
from stepcli.probe.training.banks import build_probe
from stepcli.runtime.errors import UsageError

sys.path.insert(0, str(Path(__file__).parents[2]))  # for virtual_device.py

from virtual_device import WrongDevice, virtual_cuda


def assert_same_orders(found: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Accuracies are the same, distances of logits but for rounding."""
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.early == theirs.early
        assert mine.orders.keys() == theirs.orders.keys()
        for name, order in mine.orders.items():
            assert order.top1 == theirs.orders[name].top1
            assert order.moved == pytest.approx(theirs.orders[name].moved, abs=1e-4)


@pytest.mark.parametrize("name", methods().names())
def test_every_method_trains_on_one_device(name: str, rich: Store) -> None:
    """With the values of the CPU, and one wait of the host per epoch: for the epoch's losses."""
    trains_alike(rich, configs_of(name))


SHARED: dict[str, dict[str, object]] = {
    "mixup": {"mixup": 0.4},
    "token dropout": {"token_dropout": 0.3},
    "bfloat16": {"precision": "bfloat16"},
    "parts": {"accumulate": 2, "mixup": 0.2, "token_dropout": 0.2},
}


@pytest.mark.parametrize("shared", SHARED.values(), ids=SHARED)
def test_what_a_pass_does_to_its_batches(shared: dict[str, object], rich: Store) -> None:
    trains_alike(rich, configs_of("step", **shared))


def test_dropout(rich: Store) -> None:
    recipes = (OptimConfig(dropout=0.3, attention_dropout=0.2), OptimConfig(dropout=0.5))
    trains_alike(rich, configs_of("step", recipes=recipes))


TASKS: dict[str, dict[str, object]] = {
    "whole clips": {"clip_frames": None, "temporal_crop": False},
    "shuffled frames": {"frame_order": "shuffled"},
}


@pytest.mark.parametrize("fields", TASKS.values(), ids=TASKS)
def test_how_samples_are_drawn(fields: dict[str, object], rich: Store) -> None:
    task = TaskConfig.model_validate({**ARROW.model_dump(), **fields})
    trains_alike(rich, configs_of("step", task))


def test_folds_of_one_pass(rich: Store) -> None:
    config = configs_of("step")[0]
    tasks = [ARROW.model_copy(update={"slice_seed": 0, "folds": 2, "fold": n}) for n in (0, 1)]
    trains_alike(rich, [config.model_copy(update={"task": task}) for task in tasks])


@pytest.mark.parametrize("dtype", ["int8", "int8-channel", "bfloat16"])
@pytest.mark.parametrize("where", ["on the device", "on the host", "on the disk"])
def test_where_and_how_tokens_are_kept(
    dtype: Dtype, where: str, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "store", dtype=dtype, cls=True)
    how = {"streamed": where == "on the disk", "kept_on": CPU if where == "on the host" else None}
    trains_alike(store, configs_of("step"), **how)


@pytest.mark.parametrize("name", ["step", "rvm", "lift", "last-frame"])
def test_clips_with_padding(name: str, store_of: Callable[..., Store], tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", sampling="uniform+pad", distinct=3, cls=True)
    task = ARROW.model_copy(update={"clip_frames": 4})
    trains_alike(store, configs_of(name, task))


def test_a_session_on_the_second_gpu(rich: Store, tmp_path: Path) -> None:
    """The record names the GPU that was trained on, and none after training on a CPU."""
    configs, place = configs_of("step"), Path(str(rich.path))
    with virtual_cuda(devices=2) as gpu:
        assert free_bytes(torch.device("cuda:1")) == gpu.free + (2 << 30)  # torch's own reserve
        session = Session(place, tmp_path / "gpu", "cuda:1")
        assert session.estimate(session.plan(configs)) > 0
        on_gpu = session.run(configs)
        on_cpu = Session(place, tmp_path / "cpu", "cpu").run(configs)
        with pytest.raises(UsageError, match="cuda:2"):
            Session(place, tmp_path / "cpu", "cuda:2")
    assert {record.hardware.gpu for record in on_gpu} == {"virtual cuda:1"}
    assert {record.hardware.gpu for record in on_cpu} == {None}
    for mine, theirs in zip(on_gpu, on_cpu, strict=True):
        assert mine.losses == pytest.approx(theirs.losses, rel=1e-4)
        assert mine.run == theirs.run
    assert gpu.stream is gpu.default


def test_an_estimate_takes_more_steps_than_the_training(rich: Store, tmp_path: Path) -> None:
    """There is no learning rate after the last step."""
    with virtual_cuda():
        session = Session(Path(str(rich.path)), tmp_path / "runs", "cuda")
        (plan,) = session.plan(configs_of("step", epochs=1, batch_size=64))
        assert plan.steps == 1
        assert session.estimate([plan]) > 0


def test_order_tests_of_runs(rich: Store, tmp_path: Path) -> None:
    """Trained on the CPU, tested on a GPU: what is kept is the same."""
    place, kept = Path(str(rich.path)), []
    for device in ("cpu", "cuda"):
        runs = tmp_path / device
        records = Session(place, runs, "cpu").run(configs_of("step"))
        with virtual_cuda():
            keep_order_tests(configurations(runs, None), place, device)
        kept.append([kept_order_tests(runs, record) for record in records])
    assert_same_orders(*kept)


@pytest.mark.parametrize(("first", "then"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_training_goes_on_elsewhere(first: str, then: str, rich: Store, tmp_path: Path) -> None:
    configs, place = configs_of("step", epochs=3), Path(str(rich.path))

    class Killed(Exception):
        pass

    def die(number: int) -> Callable[..., None]:
        def epoch(*args: object) -> None:
            if args[-1].epoch == number:  # type: ignore[attr-defined]
                raise Killed

        return epoch

    def session(device: str, runs: str) -> Session:
        return Session(place, tmp_path / runs, device, save_seconds=0)

    with virtual_cuda(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(SweepProgress, "epoch", die(2))
        with pytest.raises(Killed):
            session(first, "runs").run(configs)
        seen: list[int] = []
        patch.setattr(SweepProgress, "epoch", lambda *args: seen.append(args[-1].epoch))
        moved = session(then, "runs").run(configs)
    whole = session("cpu", "whole").run(configs)
    for mine, theirs in zip(moved, whole, strict=True):
        assert mine.losses == pytest.approx(theirs.losses, rel=1e-4)
        assert mine.top1 == theirs.top1


def test_a_bank_is_halved_on_a_gpu(rich: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = configs_of("step", recipes=(OptimConfig(dropout=0.3), OptimConfig(lr=1e-2)) * 2)
    wanted, _ = run(rich, configs, CPU)
    forward = Step.forward

    def greedy(self: Step, batch: TokenBatch) -> torch.Tensor:
        if self.training and self.members > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch)

    monkeypatch.setattr(Step, "forward", greedy)
    with virtual_cuda() as gpu:
        found, _ = run(rich, configs, CUDA)
    assert gpu.calls["empty_cache"] > 0
    assert_same(found, wanted)


def test_order_tests(store_of: Callable[..., Store], tmp_path: Path) -> None:
    """Of clips with padding, whose frames are put into other orders."""
    store = store_of(tmp_path / "store", sampling="uniform+pad", distinct=3, cls=True)
    task = make_task(ARROW, store, labelled_clips(store, "train", "test"))

    def tested(device: torch.device) -> list[OrderTests]:
        features = Resident(store, task.clips, device, device)
        layout = task_layout(store, task)
        made = [
            build_probe(config, layout, len(task.classes)).to(device)
            for config in (*configs_of("step"), *configs_of("early-late"))
        ]
        return run_order_tests(made, features, task)

    with virtual_cuda():
        found = tested(CUDA)
    assert_same_orders(tested(CPU), found)


def test_a_mixture_of_devices_is_found(rich: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(batch: TokenBatch, rows: torch.Tensor) -> torch.Tensor:
        return rows * torch.ones(rows.shape[-1])

    monkeypatch.setattr(TokenBatch, "mean_over_frames", careless)
    with virtual_cuda(), pytest.raises(WrongDevice, match="mul"):
        run(rich, configs_of("linear"), CUDA)


def test_a_wait_in_a_step_is_counted(rich: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = TokenBatch.mean_over_frames

    def slow(batch: TokenBatch, rows: torch.Tensor) -> torch.Tensor:
        assert rows.sum().item() != 0
        return plain(batch, rows)

    monkeypatch.setattr(TokenBatch, "mean_over_frames", slow)
    with virtual_cuda() as gpu:
        _, waits = run(rich, configs_of("linear"), CUDA, gpu=gpu)
    assert waits == [1 + 2] * (EPOCHS - 1)
    assert any(kind.startswith("item at tests/probe/training") for kind in gpu.waits)
