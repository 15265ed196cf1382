"""Shows in one place what the workers of a cluster report: clips, each worker's pace, losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic as now

from stepcli.extract.engines.work_queue import WorkerState
from stepcli.extract.pipeline.progress import ExtractionProgress


@dataclass(slots=True)
class _Pace:
    """How fast a worker is, from its first clips on: the start of its model says nothing."""

    began: float
    before: int
    """Clips done when its first were reported."""
    last: float
    done: int

    @property
    def rate(self) -> float:
        """Clips a second; 0 until it has reported twice."""
        return (self.done - self.before) / max(self.last - self.began, 1e-9)


class Board:
    """Turns what workers report into the progress of the run."""

    def __init__(self, progress: ExtractionProgress) -> None:
        self._progress = progress
        self._workers: dict[str, WorkerState] = {}
        self._paces: dict[str, _Pace] = {}
        self._done = self._quarantined = 0
        self.repeated = 0
        """Clips that count twice, because a worker had done them and was lost with them."""
        self.lost = 0

    def say(self, text: str) -> None:
        """A line of its own."""
        self._progress.say(text)

    def show(self, workers: Mapping[str, WorkerState]) -> None:
        """Bring the progress up to date with what those who run have reported."""
        self._workers |= workers
        moment = now()
        for name, state in workers.items():
            if state.done:
                pace = self._paces.setdefault(name, _Pace(moment, state.done, moment, state.done))
                if state.done > pace.done:
                    pace.last, pace.done = moment, state.done
        self._progress.workers = self._remark(list(workers))
        done = sum(state.done for state in self._workers.values()) - self.repeated
        quarantined = sum(state.quarantined for state in self._workers.values())
        for _ in range(done - self._done):
            self._progress.clip_done()
        for _ in range(quarantined - self._quarantined):
            self._progress.clip_quarantined()
        self._done, self._quarantined = max(done, self._done), quarantined

    def _remark(self, names: Sequence[str]) -> str:
        """ "workers: 2, slowest worker-1 on b (3.1 clips/s), fastest 4.0; lost: 1" """
        text = f"workers: {len(names)}"
        rates = {name: self._paces[name].rate for name in names if name in self._paces}
        if rates:
            slowest = min(rates, key=rates.__getitem__)
            where = f"{slowest} on {self._workers[slowest].host}"
            text += f", slowest {where} ({rates[slowest]:.1f} clips/s)"
            text += f", fastest {max(rates.values()):.1f}"
        return f"{text}; lost: {self.lost}" if self.lost else text

    def reported(self, name: str) -> int:
        """How many clips a worker has told of."""
        state = self._workers.get(name)
        return state.done + state.quarantined if state else 0

    def report(self) -> None:
        """Say at the end what each worker did."""
        for name, state in self._workers.items():
            pace = self._paces.get(name)
            rate = f", {pace.rate:.1f} a second" if pace and pace.rate else ""
            self.say(
                f"{name} on {state.host}: {state.done} done, {state.quarantined} quarantined{rate}"
            )
        if self.lost:
            self.say(f"{self.lost} workers were lost on the way; others did what they had")
