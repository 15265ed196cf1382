"""Steps as CUDA graphs, on the virtual GPU: what is captured, and what is done where it is not."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_training import ARROW, CPU, CUDA, assert_same, configs_of, run, trains_alike

from stepcli.cache.store.store import Store
from stepcli.probe.config import OptimConfig, RunConfig
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.registry import methods
from stepcli.probe.methods.step import Step
from stepcli.probe.training import step_graphs
from stepcli.probe.training.banks import Bank, CapturedStep

sys.path.insert(0, str(Path(__file__).parents[2]))  # for virtual_device.py

from virtual_device import VirtualCuda, virtual_cuda
from virtual_graphs import VirtualGraph

SHARED: dict[str, object] = {"epochs": 3, "batch_size": 6}
"""16 samples: two steps of six and one of four an epoch."""
STEPS, SHAPES = 9, 2
OWN = """
from torch import nn


class Mine(nn.Module):
    def __init__(self, frames, tokens, dim, classes):
        super().__init__()
        self.head = nn.Linear(frames * tokens * dim, classes)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        return self.head(self.drop(x.flatten(1)))
"""

FADING = """
from stepcli.probe.methods.linear import Linear
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.pooling import PoolOptions


class Fading(Linear):
    passes = 0

    def forward(self, batch):
        self.passes += self.training
        return super().forward(batch) / (1 + self.passes)


INFO = ProbeInfo("fading", Fading, PoolOptions, "", order_aware=False, lr=1e-2)
"""


def several(*names: str, **shared: object) -> list[RunConfig]:
    """Configs of several methods in one pass."""
    return [config for name in names for config in configs_of(name, **(SHARED | shared))]


@pytest.fixture
def padded(store_of: Callable[..., Store], tmp_path: Path) -> Store:
    counts = (2, 6, 3, 5, 4)
    return store_of(tmp_path / "store", sampling="uniform+pad", distinct=counts, cls=True)


def test_banks_share_what_one_graph_has_made(padded: Store) -> None:
    """Running statistics, times of frames, masks, and two shapes of batches."""
    names = ("step", "efficient", "duration", "attentive", "gru", "linear", "first-frame")
    whole = ARROW.model_copy(update={"clip_frames": None, "temporal_crop": False})
    configs = several(*names, mixup=0.3, task=whole)
    assert trains_alike(padded, configs) == len(names) * (STEPS - SHAPES)


def test_dropout_of_both_shapes(rich: Store) -> None:
    recipes = (OptimConfig(dropout=0.3, attention_dropout=0.2), OptimConfig(dropout=0.5))
    trains_alike(rich, configs_of("step", recipes=recipes, **SHARED))


def test_a_method_of_the_user_s_is_not_captured(rich: Store, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    name = f"{tmp_path / 'mine.py'}:Mine"
    methods().load(name)
    configs = several("step", name)
    with virtual_cuda() as gpu:
        found, _ = run(rich, configs, CUDA)
    assert gpu.calls["replay"] == STEPS - SHAPES
    assert_same(found, run(rich, configs, CPU)[0])


def test_a_user_s_probe_within_a_built_in_one_is_not_captured(rich: Store, tmp_path: Path) -> None:
    """A graph would repeat the host's number of the pass in which it was captured."""
    (tmp_path / "fading.py").write_text(FADING)
    name = f"{tmp_path / 'fading.py'}:INFO"
    methods().load(name)
    configs = [
        config.model_copy(update={"options": config.options | {"probe": name}})
        for config in several("difference")
    ]
    with virtual_cuda() as gpu:
        found, _ = run(rich, configs, CUDA)
    assert_same(found, run(rich, configs, CPU)[0])
    assert gpu.calls["replay"] == 0


class Trouble:
    """A forward pass of STEP that fails, `times` times, where `when` is true."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
        self.error = error
        self.gpu: VirtualCuda | None = None
        self.times = 1
        self.when: Callable[[TokenBatch], bool] = lambda batch: False
        forward = Step.forward

        def troubled(step: Step, batch: TokenBatch) -> torch.Tensor:
            if step.training and self.times and self.when(batch):
                self.times -= 1
                raise torch.OutOfMemoryError(self.error)
            return forward(step, batch)

        monkeypatch.setattr(Step, "forward", troubled)


def test_what_cannot_be_captured_is_launched(rich: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    configs, said = several("linear", "step"), list[str]()
    wanted, _ = run(rich, configs, CPU)
    trouble = Trouble(monkeypatch, "CUDA out of memory")
    with virtual_cuda() as gpu:
        trouble.when = lambda batch: gpu.capturing is not None
        found, _ = run(rich, configs, CUDA, said=said)
    assert_same(found, wanted)
    assert trouble.times == 0
    assert gpu.calls["replay"] == 1  # of the bank before it
    (line,) = said
    assert line.startswith("a step of 2 x step cannot be captured (CUDA out of memory): steps are")


def test_what_was_captured_is_gone_before_steps_are_launched(
    rich: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that could not be captured may need the memory of its neighbours' graphs."""
    trouble = Trouble(monkeypatch, "CUDA out of memory")
    left: list[int] = []
    plain = step_graphs.free_memory

    def freed(device: torch.device) -> None:
        plain(device)
        if not trouble.times:
            left.append(sum(type(each) is VirtualGraph for each in gc.get_objects()))

    monkeypatch.setattr(step_graphs, "free_memory", freed)
    with virtual_cuda() as gpu:
        trouble.when = lambda batch: gpu.capturing is not None
        run(rich, several("linear", "step"), CUDA, said=[])
    assert gpu.calls["replay"] == 1
    assert left == [0]


def test_a_launch_takes_no_memory(rich: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running out of it then would end the training."""
    recipes = (OptimConfig(dropout=0.3, attention_dropout=0.2), OptimConfig(dropout=0.5))
    configs = configs_of("step", recipes=recipes, **SHARED)
    launch, wrap = Bank.launch, VirtualCuda.wrap

    def full(
        gpu: VirtualCuda, inner: torch.Tensor, device: torch.device, memory: Any = None
    ) -> Any:
        if memory is None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return wrap(gpu, inner, device, memory)

    def launched(bank: Bank, captured: CapturedStep) -> torch.Tensor:
        with monkeypatch.context() as patched:
            patched.setattr(VirtualCuda, "wrap", full)
            return launch(bank, captured)

    monkeypatch.setattr(Bank, "launch", launched)
    with virtual_cuda() as gpu:
        run(rich, configs, CUDA)
    assert gpu.calls["replay"] == STEPS - SHAPES


def test_a_batch_that_does_not_fit_twice(rich: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    configs, said = several("step"), list[str]()
    wanted, _ = run(rich, configs, CPU)

    def full(_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(step_graphs, "HeldParts", full)
    with virtual_cuda() as gpu:
        found, _ = run(rich, configs, CUDA, said=said)
    assert_same(found, wanted)
    assert gpu.calls["replay"] == 0
    (line,) = said
    assert line.startswith("out of memory beside a step: steps are no longer launched as CUDA gra")


def test_graphs_give_way_to_what_has_to_be_launched(
    rich: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The smaller batch comes when steps of the larger ones are graphs already."""
    configs, said = several("step"), list[str]()
    wanted, _ = run(rich, configs, CPU)
    trouble = Trouble(monkeypatch, "CUDA out of memory")
    trouble.when = lambda batch: batch.clips == 4
    with virtual_cuda() as gpu:
        found, _ = run(rich, configs, CUDA, said=said)
    assert_same(found, wanted)
    (line,) = said
    assert line.startswith("out of memory in a step: steps are no longer launched as CUDA graphs,")
    assert gpu.calls["replay"] == 1
