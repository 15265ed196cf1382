"""Which worker has which clips: each clip is with one worker at a time until it is stored."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from stepcli.extract.datasets.clip import Clip


@dataclass(slots=True)
class WorkerState:
    """What is known of one worker."""

    host: str
    pid: int
    done: int = 0
    quarantined: int = 0


class Handout:
    """Hands a list of clips out in small groups, to whoever asks.

    Small groups, so that a slow video or a slow host holds up nobody else.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._waiting = deque(clips)
        self._with: dict[str, dict[str, Clip]] = {}
        self._workers: dict[str, WorkerState] = {}
        self._stopping = False

    def join(self, worker: str, state: WorkerState) -> None:
        """A worker says that it is there."""
        self._workers[worker] = state
        self._with[worker] = {}

    def next(self, worker: str, count: int) -> list[Clip]:
        """At most `count` clips, now with that worker; none when it should finish.

        One that was taken for lost, and is not, gets none: others have its clips.
        """
        if self._stopping or worker not in self._with:
            return []
        group = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
        self._with[worker] |= {clip.id: clip for clip in group}
        return group

    def report(self, worker: str, done: int, quarantined: int) -> bool:
        """How many of its clips a worker has worked through so far; whether it is to go on."""
        state = self._workers.get(worker)
        if state is None:
            return False
        state.done, state.quarantined = done, quarantined
        return not self._stopping

    def left(self, worker: str) -> list[Clip]:
        """A worker has gone, in whichever way: what it had is nobody's now.

        One that never joined had nothing.
        """
        self._workers.pop(worker, None)
        return list(self._with.pop(worker, {}).values())

    def again(self, clips: Sequence[Clip]) -> None:
        """Hand clips out once more, behind all the rest: should one of them be what ends its
        workers, all others are done first."""
        self._waiting.extend(clips)

    def stop(self) -> None:
        """Hand out nothing more; workers hear of it when they report."""
        self._stopping = True

    def outstanding(self) -> int:
        """Clips that nobody is known to have stored: waiting, or with a worker that still runs."""
        return len(self._waiting) + sum(map(len, self._with.values()))

    def waiting(self) -> int:
        """Clips that no worker has."""
        return len(self._waiting)

    def workers(self) -> dict[str, WorkerState]:
        """Those that have joined and not gone."""
        return self._workers
