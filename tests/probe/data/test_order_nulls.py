"""The nulls of the order suite: probes that do not see order are at chance on random tokens."""

from pathlib import Path

import pytest
import torch
from random_tokens import CPU, MAPS, random_store, task_of
from small_methods import small_options

from stepcli.probe.analysis.order_tests import run_order_tests
from stepcli.probe.config import DataConfig, OptimConfig, RunConfig, TaskConfig
from stepcli.probe.config.task import ORDER_SUITE
from stepcli.probe.data.features import Resident, task_layout
from stepcli.probe.methods.registry import methods
from stepcli.probe.nn.pooling import PooledProbe
from stepcli.probe.training.banks import build_probe
from stepcli.probe.training.train import train


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
