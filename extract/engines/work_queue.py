"""Clips that wait for a worker of a cluster, and the state of each worker."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from stepcli.extract.datasets.clip import Clip


@dataclass(slots=True)
class WorkerState:
    """One worker, as it last reported."""

    host: str
    done: int = 0
    quarantined: int = 0
    first: tuple[float, int] | None = None
    """When its first clips were reported, and how many: the start of its model is no pace."""
    last: float = 0.0

    @property
    def rate(self) -> float:
        """Clips per second; 0 before the second report."""
        if self.first is None or self.last <= self.first[0]:
            return 0.0
        return (self.done - self.first[1]) / (self.last - self.first[0])


class WorkQueue:
    """Hands out clips a few at a time: a slow video or host holds up only its own.

    It runs as an actor on the driver's node. Which clip went to which worker is not kept: what a
    lost worker has not stored is found in the store once the queue is empty.
    """

    def __init__(self) -> None:
        self._waiting: deque[Clip] = deque()
        self._workers: dict[str, WorkerState] = {}
        self._stopping = False

    def fill(self, clips: Sequence[Clip]) -> None:
        """Begin a round: these clips wait, and no worker has reported."""
        self._waiting = deque(clips)
        self._workers.clear()

    def join(self, worker: str, host: str) -> None:
        """Register a worker that has started."""
        self._workers[worker] = WorkerState(host)

    def next(self, worker: str, count: int) -> list[Clip]:
        """Take at most `count` clips; none when the worker is to finish.

        A worker that counted as lost gets none: its clips will be done by others.
        """
        if self._stopping or worker not in self._workers:
            return []
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    def report(self, worker: str, done: int, quarantined: int) -> bool:
        """Note a worker's counts; False tells it to stop."""
        state = self._workers.get(worker)
        if state is None:
            return False
        if done > state.done:
            state.last = time.monotonic()
            state.first = state.first or (state.last, done)
        state.done, state.quarantined = done, quarantined
        return not self._stopping

    def lose(self, worker: str) -> None:
        """Forget a worker that is out of reach."""
        self._workers.pop(worker, None)

    def stop(self) -> None:
        """Hand out no more clips, and tell workers to stop when they report."""
        self._stopping = True

    def state(self) -> tuple[int, dict[str, WorkerState]]:
        """Clips that wait, and the workers of this round that are not lost."""
        return len(self._waiting), self._workers
