"""Extraction on a real Ray cluster of this machine: the same store, whoever is lost on the way.

STEPCLI_KILLS sets how many workers are killed (default 2).
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepcli.cache import open_store
from stepcli.cache.care.verify import verify_store
from stepcli.cache.errors import UsageError
from stepcli.engines.preemption import PREEMPTED
from stepcli.engines.ray_cluster import WorkerFailed, ray_cluster
from stepcli.extract.engines.ray_engine import RayOptions, WorkerShare
from stepcli.extract.job import ExtractionRequest, run_job
from stepcli.extract.sink import PartLimits

KILLS = int(os.environ.get("STEPCLI_KILLS", "2"))


@pytest.fixture(scope="module")
def request_for(model_folder: Callable[[str], Path]) -> Callable[..., ExtractionRequest]:
    plain = ExtractionRequest(
        dataset="openclose",
        root=None,
        options={},
        store=None,
        backbone=f"hf:{model_folder('dinov2')}",
        frames=8,
        tokens="grid2",
        sampling="uniform",
        dtype="float32",
        format=None,
        device="cpu",
        precision="float32",
        batch=None,
        workers=1,
        clip_seconds=60.0,
        limit=24,
        retry_failed=False,
        limits=PartLimits(clips=5),
    )

    def make(store: Path, **changes: Any) -> ExtractionRequest:
        return replace(plain, store=store, **changes)

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


def test_a_cluster_makes_the_store_that_one_process_makes(
    ray: Any, request_for: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job(request_for(tmp_path / "local"))[0] == 0
    capsys.readouterr()
    assert run_job(request_for(tmp_path / "ray", ray=RayOptions(cpus=1)))[0] == 0
    said = capsys.readouterr().err
    assert "worker-0 on" in said
    assert "worker-1 on" in said
    local, far = open_store(tmp_path / "local"), open_store(tmp_path / "ray")
    assert far.ids == local.ids
    np.testing.assert_allclose(far.read(far.ids), local.read(local.ids), atol=1e-5)
    for clip in local.ids:
        assert far.record(clip) == local.record(clip)


def test_killed_workers_cost_no_clip(
    ray: Any,
    request_for: Any,
    project: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    videos = sorted((project / "examples/openclose/clips").rglob("*.mp4"))[:: max(1, 4 // KILLS)]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(["path,label", *(f"{path},x" for path in [broken, *videos])]))
    store = tmp_path / "store"
    ended = threading.Event()
    killed: list[int] = []

    def kill_some() -> None:
        moments = random.Random(0)
        parts = 0
        while len(killed) < KILLS and not ended.wait(moments.uniform(0.1, 1.0)):
            # Always after some work is stored: losses with nothing between them end a run.
            if len(list(store.glob("parts/*/part.json"))) <= parts:
                continue
            listed = subprocess.run(
                ["pgrep", "-f", "ray::Worker.run"], capture_output=True, text=True
            )
            found = {int(word) for word in listed.stdout.split()} - set(killed)
            pids = sorted(pid for pid in found if is_ours(pid))
            if pids:
                victim = moments.choice(pids)
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
                parts = len(list(store.glob("parts/*/part.json")))

    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        code, summary = run_job(
            request_for(store, dataset="csv", root=table, limit=None, ray=RayOptions(cpus=1))
        )
    finally:
        ended.set()
        killer.join()
    assert killed, "the run ended before a worker could be killed"
    assert code == 3
    assert summary["done"] == len(videos)
    assert summary["quarantined"] == 1
    assert summary["left"] == 0
    assert "was lost" in capsys.readouterr().err
    made = open_store(store)
    assert len(set(made.ids)) == len(made.ids) == len(videos)
    assert verify_store(store).problems == []
    parts = sorted(path for path in (store / "parts").iterdir())
    assert len(parts) >= len(videos) // 5


def test_what_would_stop_every_worker_stops_the_run(
    ray: Any, request_for: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are there for the driver and gone when the workers look."""
    import shutil

    from stepcli.extract import job

    request = request_for(tmp_path / "store", ray=RayOptions(cpus=1))
    folder = tmp_path / "weights"
    shutil.copytree(request.backbone.removeprefix("hf:"), folder)
    note_clips = job._note_clips

    def and_lose_the_weights(*arguments: Any) -> None:
        note_clips(*arguments)
        shutil.rmtree(folder)

    monkeypatch.setattr(job, "_note_clips", and_lose_the_weights)
    with pytest.raises(WorkerFailed, match="weights"):
        run_job(replace(request, backbone=f"hf:{folder}"))


def test_sigterm_leaves_a_clean_store(request_for: Any, tmp_path: Path) -> None:
    request = request_for(tmp_path / "store")
    words = "--dataset openclose --frames 8 --tokens grid2 --dtype float32 --device cpu --workers 1"
    engine = "--engine ray --address local --worker-cpus 1 --part-clips 5"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "stepcli.cli", "extract", *words.split(), *engine.split()),
            *("--backbone", request.backbone, "--store", str(request.store)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(request.store.glob("parts/*/part.json")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    _, said = process.communicate(timeout=60)
    seconds = time.monotonic() - asked
    assert process.returncode == PREEMPTED, said
    assert "the same command goes on" in said
    assert seconds < 20, seconds
    assert len(open_store(request.store)) >= 5
    assert verify_store(request.store).problems == []


def test_shares_of_nodes() -> None:
    small, large = {"CPU": 2.0}, {"CPU": 64.0, "GPU": 8.0}
    assert WorkerShare.of(RayOptions(), [small]) == WorkerShare(2.0, 0.0)
    assert WorkerShare.of(RayOptions(), [large]) == WorkerShare(8.0, 1.0)
    assert WorkerShare.of(RayOptions(gpus=0.5), [small, large]) == WorkerShare(4.0, 0.5)
    assert WorkerShare.of(RayOptions(gpus=0), [large]) == WorkerShare(4.0, 0.0)
    assert WorkerShare.of(RayOptions(cpus=1), [small]) == WorkerShare(1.0, 0.0)
    assert WorkerShare(8.0, 1.0).fitting([small, large, large], None) == 16
    assert WorkerShare(8.0, 1.0).fitting([small, large, large], 3) == 3
    assert WorkerShare(4.0, 0.0).fitting([small], None) == 1


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'stepcli\[ray\]'"), ray_cluster(None):
        pass
