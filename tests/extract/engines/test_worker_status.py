"""What a cluster's workers report is shown in one place, each clip counted once."""

import pytest

from stepcli.extract.engines.work_queue import WorkerState
from stepcli.extract.engines.worker_status import Board
from stepcli.extract.pipeline.progress import ExtractionProgress


def test_pace_losses_and_quarantine_are_shown_while_it_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepcli.runtime.progress.LINE_SECONDS", 1e-9)
    seconds = iter(range(100))
    monkeypatch.setattr("stepcli.extract.engines.worker_status.now", lambda: float(next(seconds)))
    with ExtractionProgress(40, 0) as progress:
        board = Board(progress)
        board.show({"worker-0": WorkerState("a", 1, 4), "worker-1": WorkerState("b", 2, 2)})
        board.lost = 1
        board.show({"worker-0": WorkerState("a", 1, 8), "worker-1": WorkerState("b", 2, 5, 1)})
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("14/40 clips, ")
        assert said.endswith(
            "1 quarantined; workers: 2, slowest worker-1 on b (3.0 clips/s), fastest 4.0; lost: 1"
        )
        board.repeated = 3  # worker-1 is gone, and three of its five were not stored
        board.show({"worker-0": WorkerState("a", 1, 10)})
        assert board.reported("worker-1") == 6
        assert capsys.readouterr().err == "", "no clip counts twice"
        board.show({"worker-0": WorkerState("a", 1, 12)})
        board.report()
    first, *others = capsys.readouterr().err.splitlines()
    assert first.startswith("15/40")
    assert others == [
        "worker-0 on a: 12 done, 0 quarantined, 2.7 a second",
        "worker-1 on b: 5 done, 1 quarantined, 3.0 a second",
        "1 workers were lost on the way; others did what they had",
    ]
