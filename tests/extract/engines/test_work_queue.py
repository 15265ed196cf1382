"""The queue of clips that a cluster's workers take from, and what is shown of them."""

from pathlib import Path

import pytest

from stepcli.extract.datasets.clip import Clip
from stepcli.extract.engines.ray_engine import workers_text
from stepcli.extract.engines.work_queue import WorkerState, WorkQueue
from stepcli.extract.pipeline.progress import ExtractionProgress


def make_clips(count: int) -> list[Clip]:
    return [Clip(f"clip-{i}", Path(f"{i}.mp4"), "label") for i in range(count)]


@pytest.fixture
def queue() -> WorkQueue:
    """Five clips, and the workers a and b."""
    queue = WorkQueue()
    queue.fill(make_clips(5))
    queue.join("a", "here")
    queue.join("b", "there")
    return queue


def test_each_clip_is_taken_once(queue: WorkQueue) -> None:
    taken = [clip.id for worker in "abab" for clip in queue.next(worker, 2)]
    assert taken == [f"clip-{i}" for i in range(5)]
    assert queue.state()[0] == 0


def test_a_worker_that_was_lost_gets_no_clips_and_is_told_to_stop(queue: WorkQueue) -> None:
    assert queue.report("a", 1, 0)
    queue.lose("a")
    assert queue.next("a", 1) == []
    assert not queue.report("a", 1, 0)
    assert list(queue.state()[1]) == ["b"]
    queue.fill(make_clips(2))  # a new round, with new workers
    assert queue.next("b", 1) == []
    queue.join("c", "here")
    assert len(queue.next("c", 9)) == 2


def test_no_clip_is_handed_out_after_a_stop(queue: WorkQueue) -> None:
    queue.stop()
    assert queue.next("a", 2) == []
    assert not queue.report("a", 0, 0)


def test_rates_leave_out_the_time_before_the_first_clips(
    queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    queue.report("a", 0, 0)
    now[0] = 200.0
    queue.report("a", 8, 0)
    assert queue.state()[1]["a"].rate == 0.0
    now[0] = 202.0
    queue.report("a", 14, 0)
    now[0] = 300.0
    queue.report("a", 14, 1)
    assert queue.state()[1]["a"].rate == 3.0


def test_workers_are_shown_in_one_line() -> None:
    first = WorkerState("a", 12, 0, (0.0, 4), 2.0)
    second = WorkerState("b", 7, 1, (0.0, 1), 2.0)
    assert workers_text({"worker-0": first, "worker-1": second}, 1) == (
        "workers: 2, slowest worker-1 on b (3.0 clips/s), fastest 4.0; lost: 1"
    )
    assert workers_text({"worker-0": WorkerState("a")}, 0) == "workers: 1"


def test_clips_of_a_lost_worker_are_taken_back_from_the_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepcli.runtime.progress.LINE_SECONDS", 0.0)
    with ExtractionProgress(40, 0) as progress:
        progress.settle(13, 1)
        progress.workers = "workers: 1; lost: 1"
        progress.settle(10, 1)
        line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("11/40 clips")
    assert line.endswith("1 quarantined; workers: 1; lost: 1")
