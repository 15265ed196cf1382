"""When memory runs out: what is tried again has the memory of what failed."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, OptimConfig, RunConfig
from stepcli.probe.methods.step import Step
from stepcli.probe.nn.bank import Probe
from stepcli.probe.sweeps import session as sessions
from stepcli.probe.sweeps.session import Session
from stepcli.probe.training import banks as training_banks
from stepcli.probe.training import train as training
from stepcli.probe.training.memory import OutOfMemory
from stepcli.runtime.out_of_memory import is_out_of_memory

OPTIONS = {"heads": 4}
SHARED = DataConfig(epochs=2, batch_size=8)


def configs(count: int, recipe: OptimConfig | None = None) -> list[RunConfig]:
    each = recipe or OptimConfig(lr=1e-3)
    return [
        RunConfig(method="step", options=OPTIONS, recipe=each, shared=SHARED, seed=seed)
        for seed in range(count)
    ]


@pytest.fixture
def store(store_of: Callable[..., Store], tmp_path: Path) -> Store:
    return store_of(tmp_path / "store")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory"),
        MemoryError(),
    ],
)
def test_every_allocator_s_word_for_it_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))


def greedy(most: int, forward: Callable[..., Tensor] = Step.forward) -> Callable[..., Tensor]:
    """A step that does not fit with more members."""

    def step(self: Step, batch: Any) -> Tensor:
        if self.training and self.members > most:
            torch.empty(1 << 60)
        return forward(self, batch)

    return step


def test_halves_get_the_memory_of_the_bank(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are the first thing that would be in their way."""
    held: list[weakref.ref[Tensor]] = []
    still: list[bool] = []
    forward, halves = Step.forward, training_banks.Bank.halves

    def watched(bank: training_banks.Bank) -> list[training_banks.Bank]:
        held.extend(weakref.ref(moment) for moment in bank._optimizer._first.values())
        return halves(bank)

    def step(self: Step, batch: Any) -> Tensor:
        if held and self.training:
            still.append(any(ref() is not None for ref in held))
        return greedy(2, forward)(self, batch)

    monkeypatch.setattr(training_banks.Bank, "halves", watched)
    monkeypatch.setattr(Step, "forward", step)
    Session(Path(str(store.path)), store_runs(store), "cpu").run(configs(4))
    assert held
    assert not any(still)


def store_runs(store: Store) -> Path:
    return Path(str(store.path)).parent / "runs"


def test_the_passes_of_a_failed_one_do_not_share_memory_with_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception's traceback, and a cycle through it, would keep every bank of the failed try."""
    probes: list[weakref.ref[Probe]] = []
    alive: list[int] = []
    make, plain = training.make_banks, sessions.train

    def made(members: Any, *args: Any, **named: Any) -> Any:
        found = make(members, *args, **named)
        probes.extend(weakref.ref(bank.probe) for bank in found)
        if len(members) > 2:
            loop: list[object] = [found]
            loop.append(loop)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    def train(*args: Any, **named: Any) -> Any:
        alive.append(sum(ref() is not None for ref in probes))
        return plain(*args, **named)

    monkeypatch.setattr(training, "make_banks", made)
    monkeypatch.setattr(sessions, "train", train)
    gc.disable()
    try:
        done = Session(Path(str(store.path)), store_runs(store), "cpu").run(configs(4))
    finally:
        gc.enable()
    assert len(done) == 4
    assert alive[:2] == [0, 0]


def test_a_halved_bank_drops_what_it_would_have_dropped(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = OptimConfig(lr=1e-3, dropout=0.3, attention_dropout=0.2)
    place = Path(str(store.path))
    whole = Session(place, tmp_path / "whole", "cpu").run(configs(4, recipe))
    monkeypatch.setattr(Step, "forward", greedy(1))
    halved = Session(place, tmp_path / "halved", "cpu").run(configs(4, recipe))
    for mine, theirs in zip(halved, whole, strict=True):
        assert mine.losses == pytest.approx(theirs.losses, abs=1e-5)


def test_a_test_that_does_not_fit_is_done_in_smaller_pieces(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = Path(str(store.path))
    (want,) = Session(place, tmp_path / "want", "cpu").run(configs(1))
    forward = Step.forward

    def greedy_test(self: Step, batch: Any) -> Tensor:
        if not self.training and batch.clips > 1:
            torch.empty(1 << 60)
        return forward(self, batch)

    monkeypatch.setattr(training, "EVALUATION_BATCH", 4)
    monkeypatch.setattr(Step, "forward", greedy_test)
    (got,) = Session(place, tmp_path / "got", "cpu").run(configs(1))
    assert (got.top1, got.test_samples) == (want.top1, want.test_samples)
    assert "done again with 1 samples at once" in "".join(capsys.readouterr())
    monkeypatch.setattr(Step, "forward", lambda self, batch: torch.empty(1 << 60))
    with pytest.raises(OutOfMemory):
        Session(place, tmp_path / "never", "cpu").run(configs(1))
