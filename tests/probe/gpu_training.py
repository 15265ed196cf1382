"""Training on a GPU beside training on the CPU, for tests: on the virtual GPU, and on a real one
where the machine has it."""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_methods import small_options

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, OptimConfig, RunConfig, TaskConfig
from stepcli.probe.data.features import Features, Resident, task_layout
from stepcli.probe.data.make_task import make_task
from stepcli.probe.data.slices import held_out, in_folds
from stepcli.probe.data.splits import labelled_clips
from stepcli.probe.data.streamed import Streamed
from stepcli.probe.methods.registry import methods
from stepcli.probe.training.train import EpochReport, Trained, train

sys.path.insert(0, str(Path(__file__).parents[1]))  # for virtual_device.py

from virtual_device import VirtualCuda, VirtualTensor, virtual_cuda

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
ARROW = TaskConfig(name="arrow", clip_frames=2, temporal_crop=True)
EPOCHS = 2
RECIPES = (
    OptimConfig(lr=1e-3, weight_decay=0.5),
    OptimConfig(lr=1e-2, clip_norm=0.05, label_smoothing=0.1, class_balance=0.9, logit_adjust=1.0),
)


def configs_of(
    method: str,
    task: TaskConfig = ARROW,
    recipes: Sequence[OptimConfig] = RECIPES,
    **shared: object,
) -> list[RunConfig]:
    options = small_options(methods().get(method), depth=2)
    data = DataConfig.model_validate({"epochs": EPOCHS, "batch_size": 8} | shared)
    return [
        RunConfig(method=method, options=options, task=task, recipe=recipe, shared=data, seed=seed)
        for seed, recipe in enumerate(recipes)
    ]


def run(
    store: Store,
    configs: list[RunConfig],
    device: torch.device,
    *,
    streamed: bool = False,
    kept_on: torch.device | None = None,
    gpu: VirtualCuda | None = None,
    said: list[str] | None = None,
) -> tuple[list[Trained], list[int]]:
    """What was trained, and how often the host has waited in each epoch but the first; lines for
    the user are added to `said`.
    """
    config = configs[0].task.of_pass
    table = held_out(labelled_clips(store, "train", "test"), config)
    task = in_folds(make_task(config, store, table), table, config)
    features: Features
    if streamed:
        features = Streamed(store, device)
    else:
        features = Resident(store, task.clips, device, kept_on or device)
    waited: list[int] = []

    def report(_: EpochReport) -> None:
        waited.append(gpu.waits.total() if gpu else 0)

    say = print if said is None else said.append
    trained = train(features, task_layout(store, task), task, configs, report, say=say)
    return trained, [after - before for before, after in itertools.pairwise(waited)]


def assert_same(found: list[Trained], wanted: list[Trained]) -> None:
    """On the CPU again, and with the values of training there."""
    for mine, theirs in zip(found, wanted, strict=True):
        tensors = [mine.logits, *mine.probe.state_dict().values()]
        assert not any(isinstance(tensor, VirtualTensor) for tensor in tensors)
        torch.testing.assert_close(mine.logits, theirs.logits, rtol=1e-4, atol=1e-4)
        assert mine.losses == pytest.approx(theirs.losses, rel=1e-4)


def trains_alike(store: Store, configs: list[RunConfig], **how: Any) -> int:
    """On the virtual GPU, most steps as graphs, and the CPU; where the machine has a GPU, on that
    as well. Returns how often a graph was launched on the virtual one.
    """
    said: list[str] = []
    with virtual_cuda() as gpu:
        found, waits = run(store, configs, CUDA, gpu=gpu, said=said, **how)
    assert said == []  # such as that one bank of several could not be captured
    wanted, _ = run(store, configs, CPU, streamed=how.get("streamed", False))
    assert_same(found, wanted)
    assert waits == [1] * max(0, len(found[0].losses) - 1), gpu.waits
    assert (gpu.calls["replay"] > 0) is bool(found[0].losses)
    if torch.cuda.is_available():
        assert_same(run(store, configs, CUDA, said=said, **how)[0], wanted)
        assert said == []
    return gpu.calls["replay"]
