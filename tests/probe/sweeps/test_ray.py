"""A sweep on a real Ray cluster of this machine: the local engine's table."""

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, RunConfig, SliceMinimum, SweepConfig, TaskConfig
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.sweeps import ray_engine
from stepcli.probe.sweeps.adaptive import AT_ONCE, adaptive_search
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.ray_engine import RaySession, sees_store, shares
from stepcli.probe.sweeps.session import Session
from stepcli.probe.training.plan import PassPlan
from stepcli.runtime.ray_cluster import WorkerFailed, WorkersLost


def some_configs() -> list[RunConfig]:
    task = TaskConfig(name="arrow", clip_frames=4, temporal_crop=True)
    shared = DataConfig(epochs=2, batch_size=8)
    return [
        config
        for method in ("step", "linear")
        for config in run_configs(method, [{"lr": 1e-3}, {"lr": 1e-2}], {}, task, shared, range(2))
    ]


def figures(records: list[RunRecord]) -> list[dict[str, Any]]:
    """What a table is made from; not when and where it was computed."""
    names = ("run", "method", "seed", "top1", "mean_class", "forced_choice")
    return [{name: getattr(record, name) for name in names} for record in records]


def test_the_table_is_the_local_engines(
    ray: Any, store_of: Callable[..., Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_of(tmp_path / "store")
    configs = some_configs()
    local = Session(tmp_path / "store", tmp_path / "local", "cpu").run(configs)
    capsys.readouterr()
    far = RaySession(tmp_path / "store", tmp_path / "ray", "cpu", cpus=1).run(configs)
    assert figures(far) == figures(local)
    said = capsys.readouterr().out
    assert "2 banks on 1 nodes, 2 at once" in said
    assert said.count("top-1") == len(configs)
    again = RaySession(tmp_path / "store", tmp_path / "ray", "cpu", cpus=1).run(configs)
    assert again == far


def test_a_search_on_a_cluster_tries_and_chooses_what_the_local_engine_does(
    ray: Any, store_of: Callable[..., Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_of(tmp_path / "store")
    sweep = SweepConfig(
        methods={"linear": {"lr": "1e-4..1e-1"}},
        search="optuna",
        slice_min=SliceMinimum(clips=1, groups=1),
        trials=AT_ONCE + 2,
        seeds=2,
        shared=DataConfig(epochs=2),
    )
    choices = {}
    for name, kind in (("local", Session), ("ray", partial(RaySession, cpus=1))):
        session = kind(tmp_path / "store", tmp_path / name, "cpu")
        choices[name] = adaptive_search(session, sweep)
        assert f"{AT_ONCE + 2} of {AT_ONCE + 2} points" in capsys.readouterr().out
    assert choices["ray"] == choices["local"]


def test_an_interrupted_sweep_leaves_clean_runs(
    ray: Any, store_of: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes when the short pass is done; the long one would take an hour."""
    store_of(tmp_path / "store")
    task, runs = TaskConfig(), tmp_path / "runs"
    short, long = (
        run_configs("linear", [{}], {}, task, DataConfig(epochs=epochs), [0])[0]
        for epochs in (1, 1_000_000)
    )
    session = RaySession(tmp_path / "store", runs, "cpu", cpus=1)
    collect = session._collect
    one_done, ended = threading.Event(), threading.Event()
    asked: list[float] = []

    def and_say_so(*what: Any) -> None:
        collect(*what)
        one_done.set()

    monkeypatch.setattr(session, "_collect", and_say_so)

    def interrupt() -> None:
        one_done.wait()
        if not ended.is_set():
            asked.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    # A shell that starts the tests in the background hands down that SIGINT is to be ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            session.run([short, long])
    finally:
        ended.set()
        one_done.set()
        sender.join()
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - asked[0] < 60, "ten seconds; tests run on slow machines too"
    assert session.left([short, long]) == [long]
    assert not (runs / session.name(long)).exists()
    assert session.run([short])[0].method == "linear"


def test_a_workers_error_is_the_sweeps(
    ray: Any, store_of: Callable[..., Store], tmp_path: Path
) -> None:
    """Here the place of the runs was in order; the worker finds a file in the way."""
    store_of(tmp_path / "store")
    session = RaySession(tmp_path / "store", tmp_path / "runs", "cpu", cpus=1)
    plans = session.plan(some_configs()[:1])
    (tmp_path / "runs").write_text("a file in the way")
    with pytest.raises(WorkerFailed, match="runs"):
        session._train(plans)


def test_workers_that_are_lost_again_and_again_end_the_sweep(
    ray: Any, store_of: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_of(tmp_path / "store")

    def die(*work: Any) -> None:
        os._exit(1)

    monkeypatch.setattr(ray_engine, "train_share", die)
    monkeypatch.setattr(ray_engine, "RETRIES", 1)
    with pytest.raises(WorkersLost, match="lost 2 times"):
        RaySession(tmp_path / "store", tmp_path / "runs", "cpu", cpus=1).run(some_configs()[:1])


def test_a_node_must_see_this_very_store(store_of: Callable[..., Store], tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    assert sees_store(str(tmp_path / "store"), store.fingerprint)
    assert not sees_store(str(tmp_path / "store"), "another")
    assert not sees_store(str(tmp_path / "nowhere"), store.fingerprint)


def test_banks_are_halved_until_every_slot_has_one() -> None:
    configs = tuple(some_configs())
    plans = [PassPlan(configs, (), 2, 2, 2, 2)]
    assert [len(share) for share in shares(plans, 1)] == [4, 4]
    assert [len(share) for share in shares(plans, 3)] == [4, 2, 2]
    assert [len(share) for share in shares(plans, 99)] == [1] * 8
    split = [config for share in shares(plans, 5) for config in share]
    assert sorted(map(str, split)) == sorted(map(str, configs))
