"""Extraction on a real Ray cluster of this machine: the same store, whatever worker is lost.

STEPCLI_KILLS sets how many workers are killed (default 1).
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from light_backbone import light_backbone
from typer.testing import CliRunner

from stepcli.cache import open_store
from stepcli.cache.maintenance.verify import verify_store
from stepcli.cli import app
from stepcli.extract.config import ExtractConfig
from stepcli.extract.engines import ray_engine
from stepcli.extract.engines.ray_engine import WorkerShare
from stepcli.extract.engines.ray_worker import Worker
from stepcli.extract.engines.run import OnWorker, run_extract
from stepcli.runtime import preemption
from stepcli.runtime.errors import UsageError
from stepcli.runtime.ray_cluster import WorkerFailed, ray_cluster

KILLS = int(os.environ.get("STEPCLI_KILLS", "1"))


def asked(**settings: Any) -> ExtractConfig:
    return ExtractConfig(dataset="openclose", engine="ray", **settings)


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., ExtractConfig]:
    plain = ExtractConfig(
        dataset="openclose",
        backbone=light_backbone(tmp_path),
        frames=2,
        tokens="grid1",
        dtype="float32",
        device="cpu",
        workers=1,
        clip_timeout=60.0,
        limit=24,
        part_clips=5,
    )

    def make(store: Path, **changes: Any) -> ExtractConfig:
        return ExtractConfig(**{**plain.model_dump(), "store": store, **changes})

    return make


def is_ours(pid: int) -> bool:
    """Whether a process descends from this one: other clusters of the machine are not ours."""
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:  # it has just ended
            return False
        pid = int(status.rpartition(")")[2].split()[1])
    return False


def kill_workers(store: Path, killed: list[int], ended: threading.Event) -> None:
    """SIGKILL for `KILLS` workers of ours, each after more work is stored: losses with nothing
    between them end a run."""
    moments = random.Random(0)
    parts = 0
    while len(killed) < KILLS and not ended.wait(moments.uniform(0.02, 0.3)):
        now = len(list(store.glob("parts/*/part.json")))
        if now <= parts:
            continue
        listed = subprocess.run(["pgrep", "-f", "ray::Worker.run"], capture_output=True, text=True)
        found = {int(word) for word in listed.stdout.split()} - set(killed)
        if pids := sorted(pid for pid in found if is_ours(pid)):
            victim = moments.choice(pids)
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
            parts = now


def test_a_head_without_a_gpu_leaves_the_device_to_its_workers(
    ray: Any, request_for: Any, tmp_path: Path
) -> None:
    """The head refused what only the workers need; the workers of this machine refuse it too."""
    beyond = f"cuda:{torch.cuda.device_count()}"
    few = {"limit": 2, "engine": "ray", "ray_workers": 1}
    with pytest.raises(WorkerFailed, match=f"--device {beyond}"):
        run_extract(request_for(tmp_path / "s", device=beyond, **few))
    with pytest.raises(UsageError, match="--device tpu is not known"):
        run_extract(request_for(tmp_path / "t", device="tpu", **few))


def test_whoever_is_killed_the_store_is_the_one_that_one_process_makes(
    ray: Any,
    request_for: Any,
    project: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    videos = sorted((project / "examples/openclose/clips").rglob("*.mp4"))
    videos = videos[:: max(1, len(videos) // (24 + 8 * KILLS))]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(["path,label", *(f"{path},x" for path in [broken, *videos])]))
    here, store = tmp_path / "local", tmp_path / "ray"
    assert run_extract(request_for(here, dataset="csv", root=table, limit=None))[0] == 3
    ended = threading.Event()
    killed: list[int] = []
    killer = threading.Thread(target=kill_workers, args=(store, killed, ended))
    killer.start()
    try:
        code, summary = run_extract(
            request_for(store, dataset="csv", root=table, limit=None, engine="ray", worker_cpus=1)
        )
    finally:
        ended.set()
        killer.join()
    assert len(killed) == KILLS, "the run ended before all could be killed"
    assert code == 3
    assert (summary["done"], summary["quarantined"], summary["left"]) == (len(videos), 1, 0)
    said = capsys.readouterr().err
    assert "was lost" in said
    assert "worker-1 on" in said
    local, far = open_store(here), open_store(store)
    assert far.ids == local.ids
    assert len(far.ids) == len(videos)
    np.testing.assert_allclose(far.read(far.ids), local.read(local.ids), atol=1e-5)
    assert [far.record(clip) for clip in far.ids] == [local.record(clip) for clip in local.ids]
    assert verify_store(store).problems == []


def test_what_would_stop_every_worker_stops_the_run(
    ray: Any, request_for: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is there for the driver and gone when the workers look: a disk not mounted."""
    from stepcli.extract.engines import ready as job

    request = request_for(tmp_path / "store", engine="ray", ray_workers=1, worker_cpus=1)

    def and_lose_the_store(*arguments: Any) -> list[str]:
        if (tmp_path / "store").exists():  # it is asked before and after the store is made
            (tmp_path / "store").rename(tmp_path / "elsewhere")
        return []

    monkeypatch.setattr(job, "require_space", and_lose_the_store)
    with pytest.raises(WorkerFailed, match="no feature store at"):
        run_extract(request)


def test_a_package_that_does_not_load_on_a_worker_is_named_with_its_host(
    ray: Any, tmp_path: Path
) -> None:
    (tmp_path / "av.py").write_text('raise OSError("libfoo.so.5: cannot open shared object file")')
    environment = {"env_vars": {"PYTHONPATH": str(tmp_path)}}
    worker = ray.remote(Worker).options(num_cpus=0, runtime_env=environment)
    said = ray.get(worker.remote("w", None, tmp_path).run.remote(OnWorker.__module__, []))
    assert said.startswith(f"on {socket.gethostname()}: av does not load (OSError: libfoo.so.5: ")
    said = ray.get(worker.remote("w", None, tmp_path).run.remote("no_such_package.module", []))
    assert "no_such_package is not installed" in said


class Unknown(Worker):
    """The workers' processes cannot import it: as where a machine lacks stepcli."""


def test_a_machine_that_cannot_start_workers_ends_the_run_with_the_reason(
    ray: Any, request_for: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "Worker", Unknown)
    with pytest.raises(WorkerFailed, match=r"a worker could not be started \(.*No module named"):
        run_extract(request_for(tmp_path / "s", limit=2, engine="ray", ray_workers=1))


def test_sigterm_leaves_a_clean_store(
    ray: Any, request_for: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preemption, "_noticed", threading.Event())
    monkeypatch.setattr(ray_engine, "GRACE_SECONDS", 45.0)  # a loaded machine ends its part late
    plain = request_for(tmp_path / "store")
    words = "--dataset openclose --frames 2 --tokens grid1 --dtype float32 --device cpu --workers 1"
    engine = "--engine ray --worker-cpus 1 --ray-workers 1 --part-clips 5"
    place = ["--backbone", plain.backbone, "--store", str(plain.store)]
    ended = threading.Event()
    asked: list[float] = []

    def notice() -> None:
        while not list(Path(plain.store).glob("parts/*/part.json")):
            if ended.wait(0.02):
                return
        asked.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    sender = threading.Thread(target=notice)
    sender.start()
    try:
        done = CliRunner().invoke(app, ["extract", *words.split(), *engine.split(), *place])
    finally:
        ended.set()
        sender.join()
        signal.signal(signal.SIGTERM, before)
    assert asked
    assert done.exit_code == preemption.PREEMPTED, done.output
    assert "the same command resumes" in done.output
    assert time.monotonic() - asked[0] < 60, "ten seconds; tests run on slow machines too"
    left = open_store(plain.store)
    assert 5 <= len(left) < 384
    # What the worker had finished is stored, not only whole parts.
    assert not list(Path(plain.store).glob(".staging/*/*"))
    assert verify_store(plain.store).problems == []


def test_shares_of_nodes() -> None:
    small, large = {"CPU": 2.0}, {"CPU": 64.0, "GPU": 8.0}
    assert WorkerShare.of(asked(), [small]) == WorkerShare(2.0, 0.0)
    assert WorkerShare.of(asked(), [large]) == WorkerShare(8.0, 1.0)
    assert WorkerShare.of(asked(worker_gpus=0.5), [small, large]) == WorkerShare(4.0, 0.5)
    assert WorkerShare.of(asked(worker_gpus=0), [large]) == WorkerShare(4.0, 0.0)
    assert WorkerShare.of(asked(worker_cpus=1), [small]) == WorkerShare(1.0, 0.0)
    assert WorkerShare(8.0, 1.0).fitting([small, large, large], None) == 16
    assert WorkerShare(8.0, 1.0).fitting([small, large, large], 3) == 3
    assert WorkerShare(4.0, 0.0).fitting([small], None) == 0


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'stepcli\[ray\]'"), ray_cluster(None):
        pass
