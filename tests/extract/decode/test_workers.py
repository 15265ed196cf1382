"""The pool outlives clips that hang or kill their decoder."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain_pixels import plain_pixels

from stepcli.cache.schema.clips import Failure
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.pool import DecodePool, DecodersFailed
from stepcli.extract.decode.process import DecodeSettings
from stepcli.extract.decode.sampling import uniform

PLAN = plain_pixels(0, 64, 96)
SETTINGS = DecodeSettings(PLAN, "uniform", 8)
CLIPS = 12


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, write_numbered: Any) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for i in range(CLIPS):
        path = write_numbered(folder / f"{i}.mp4", 10 + i, first=100 * i)
        made.append(Clip(str(i), path, "x"))
    return made


def pool(workers: int = 2, clip_seconds: float = 60.0) -> DecodePool:
    return DecodePool(SETTINGS, workers=workers, slots=6, clip_seconds=clip_seconds)


def collect(results: Iterator[Any]) -> tuple[dict[str, list[int]], dict[str, Failure]]:
    """Clip id -> first pixels of its frames, and the failures."""
    done, failed = {}, {}
    for result in results:
        if isinstance(result, Failure):
            failed[result.id] = result
        else:
            (view,) = result.views
            done[result.clip.id] = [result.images[p, view.space].copy() for p in view.positions]
            result.release()
    return done, failed


def test_a_pool_that_is_left_early_frees_its_memory(clips: list[Clip]) -> None:
    with pool(workers=1) as decoders:
        results = decoders.decode(clips)
        next(results)
        for _ in range(100):  # until further clips wait, which nobody will take
            if not decoders._results.empty():
                break
            time.sleep(0.1)
        results.close()
    assert decoders._results.empty()
    assert decoders._memory.closed
    with pool(workers=1) as decoders:
        kept = next(decoders.decode(clips))
    assert not isinstance(kept, Failure)
    assert kept.images.shape[1:] == (1, 64, 96, 3)
    kept.images.sum()  # stays readable
    assert not decoders._memory.closed


def test_every_clip_comes_once_with_its_own_pixels(clips: list[Clip], read_number: Any) -> None:
    with pool() as decoders:
        done, failed = collect(decoders.decode(clips))
    assert not failed
    assert done.keys() == {clip.id for clip in clips}
    for i in range(CLIPS):
        expected = [100 * i + index for index in uniform(10 + i, 8)]
        assert [read_number(image) for image in done[str(i)]] == expected


def test_decoders_import_nothing_from_the_working_folder(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrusted data set may hold a json.py, and the user stands in its folder."""
    for name in ("json", "numpy", "stepcli"):
        (tmp_path / f"{name}.py").write_text("open('was-run', 'w').close()\nraise SystemExit(1)\n")
    monkeypatch.chdir(tmp_path)
    with pool(workers=1) as decoders:
        done, failed = collect(decoders.decode(clips[:1]))
    assert not failed
    assert done.keys() == {clips[0].id}
    assert not (tmp_path / "was-run").exists()


def test_pixels_stay_until_they_are_released(clips: list[Clip], read_number: Any) -> None:
    """With fewer slots than clips, an unreleased one must never be written over."""
    with pool() as decoders:
        results = decoders.decode(clips)
        first: Any = next(results)
        held = first.images.copy()
        others = [next(results) for _ in range(3)]
        time.sleep(0.3)
        assert np.array_equal(first.images, held)
        for result in (first, *others):
            result.release()
        done, _ = collect(results)
    assert len(done) == CLIPS - 4


def test_broken_clips_come_back_with_their_reason(clips: list[Clip], tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    broken = Clip("empty", tmp_path / "empty.mp4", "x")
    gone = Clip("gone", tmp_path / "gone.mp4", "x")
    with pool() as decoders:
        done, failed = collect(decoders.decode([broken, *clips[:3], gone]))
    assert len(done) == 3
    assert failed["empty"].error == "VideoError"
    assert "0 bytes" in failed["empty"].message
    assert "No such file" in failed["gone"].message


def watch(decoders: DecodePool, clip_id: str, act: Callable[[int], None]) -> threading.Event:
    """Do something to the decoder that works on a clip, each time one does."""
    stop = threading.Event()

    def look() -> None:
        seen = set()
        while not stop.is_set():
            for worker in list(decoders._workers):
                busy = worker.tasks[0].clip.id if worker.ready and worker.tasks else None
                if busy == clip_id and worker.process.pid not in seen:
                    seen.add(worker.process.pid)
                    act(worker.process.pid)
            time.sleep(0.0005)

    threading.Thread(target=look, daemon=True).start()
    return stop


@pytest.fixture(scope="module")
def slow_clip(tmp_path_factory: pytest.TempPathFactory, write_video: Any) -> Clip:
    """Takes a decoder long enough to be caught at it."""
    noise = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    path = tmp_path_factory.mktemp("slow") / "slow.mp4"
    options = {"preset": "ultrafast", "crf": "10", "g": "1"}
    return Clip("slow", write_video(path, [noise] * 24, options=options), "x")


def test_a_clip_that_kills_its_decoder_is_put_aside_after_two_tries(
    clips: list[Clip], slow_clip: Clip
) -> None:
    killed = []

    def kill(pid: int) -> None:
        killed.append(pid)
        os.kill(pid, signal.SIGSEGV)

    with pool() as decoders:
        stop = watch(decoders, "slow", kill)
        done, failed = collect(decoders.decode([*clips[:2], slow_clip, *clips[2:]]))
        stop.set()
    assert len(killed) == 2
    assert done.keys() == {clip.id for clip in clips}
    assert failed.keys() == {"slow"}
    assert failed["slow"].message == "its decoder process ended (signal 11), 2 times"


def test_a_clip_that_hangs_is_put_aside_after_two_tries(clips: list[Clip], slow_clip: Clip) -> None:
    with pool(clip_seconds=1.0) as decoders:
        stop = watch(decoders, "slow", lambda pid: os.kill(pid, signal.SIGSTOP))
        done, failed = collect(decoders.decode([slow_clip, *clips]))
        stop.set()
    assert done.keys() == {clip.id for clip in clips}
    assert failed["slow"].message == "decoding took longer than 1 s, 2 times"


def test_one_lost_decoder_costs_no_clip(clips: list[Clip], slow_clip: Clip) -> None:
    killed: list[int] = []

    def kill_once(pid: int) -> None:
        if not killed:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    with pool() as decoders:
        stop = watch(decoders, "slow", kill_once)
        done, failed = collect(decoders.decode([slow_clip, *clips]))
        stop.set()
    assert killed
    assert not failed
    assert len(done) == CLIPS + 1


def test_leaving_early_ends_the_decoders(clips: list[Clip]) -> None:
    with pool() as decoders:
        next(decoders.decode(clips))
        processes = [worker.process for worker in decoders._workers]
    assert all(process.poll() is not None for process in processes)


def test_decoders_that_cannot_start_end_the_run(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pool(workers=1) as decoders, pytest.raises(DecodersFailed, match="did not come up"):
        collect(decoders.decode(clips))


def test_decoders_do_not_outlive_a_killed_run(clips: list[Clip]) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from stepcli.extract.decode.pool import *\n"
        "from stepcli.extract.decode.preprocess import PixelPlan\n"
        f"settings = DecodeSettings({PLAN!r}, 'uniform', 8)\n"
        "pool = DecodePool(settings, workers=2, slots=4, clip_seconds=60)\n"
        f"next(pool.decode([Clip(str(i), Path({str(clips[0].path)!r}), 'x') for i in range(9)]))\n"
        "print(*(worker.process.pid for worker in pool._workers), flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        pids = [int(pid) for pid in run.stdout.readline().split()]
        run.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a decoder lives on without its run"
        time.sleep(0.1)
