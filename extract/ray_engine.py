"""`--engine ray`: one pipeline a worker of a Ray cluster, all writing into one store.

The driver keeps a `Handout` in an actor of its own; each worker is an actor that runs the usual
pipeline on clips that it asks for a few at a time, and writes parts of its own. So a slow video
or host holds up nobody, workers may come and go, and one that is lost costs its open part: what it
had been given and not stored is handed out again.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepcli.cache.errors import StepcliError
from stepcli.cache.store import Store
from stepcli.engines.ray_cluster import WorkerFailed, WorkersLost, import_ray
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.handout import Handout, WorkerState
from stepcli.extract.pipeline import StageSeconds
from stepcli.extract.progress import Progress, duration

FRUITLESS_LOSSES = 10
"""So many workers lost one after another, with no clip stored between, end the run."""
LOOK_SECONDS = 0.5
"""How often the driver looks at its workers, and a worker reports."""
GROW_SECONDS = 10.0
"""How often the driver looks whether the cluster has grown."""
GRACE_SECONDS = 60.0
"""What workers have to commit after Ctrl-C before they are ended."""

Extract = Callable[[Iterator[Clip], "Reporter"], StageSeconds]
"""A worker's whole work: the pipeline on clips that come one by one, telling a reporter of each."""


@dataclass(frozen=True, slots=True)
class RayOptions:
    """How a run uses a cluster."""

    address: str | None = None
    """None: RAY_ADDRESS, else a cluster of this machine alone."""
    workers: int | None = None
    """At most so many; None: as many as fit the cluster, which may grow."""
    cpus: float = 1.0
    """Cores that a worker reserves."""
    gpus: float = 0.0
    """GPUs that a worker reserves; a part of one shares it."""
    group: int = 8
    """Clips that a worker is given at once."""

    def fitting(self, resources: dict[str, float]) -> int:
        """How many workers a cluster of these resources holds, at least one."""
        room = resources.get("CPU", 0.0) / self.cpus if self.cpus else float("inf")
        if self.gpus:
            room = min(room, resources.get("GPU", 0.0) / self.gpus)
        return max(1, int(min(room, self.workers or room)))


class Reporter:
    """Stands in for the progress bar in a worker: tells the driver's handout now and then."""

    def __init__(self, handout: Any, worker: str) -> None:
        self._handout = handout
        self._worker = worker
        self._done = self._quarantined = 0
        self._told = 0.0

    def clip_done(self) -> None:
        """One clip more has been written."""
        self._done += 1
        self._tell()

    def clip_quarantined(self) -> None:
        """One clip more has been put aside."""
        self._quarantined += 1
        self._tell()

    def _tell(self) -> None:
        if time.monotonic() - self._told >= LOOK_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Report now; nobody waits for the answer."""
        self._told = time.monotonic()
        self._handout.report.remote(self._worker, self._done, self._quarantined)


class Worker:
    """What an actor runs.

    Args:
        name: of this worker.
        handout: the driver's, an actor.
        folder: the driver's working directory, where relative paths begin.
    """

    def __init__(self, name: str, handout: Any, folder: Path) -> None:
        if folder.is_dir():
            os.chdir(folder)
        self._name = name
        self._handout = handout

    def run(self, extract: Extract, group: int) -> StageSeconds | str:
        """Extract until nothing is handed out any more; the text of a StepcliError if one came.

        An error's text and not the error itself: that has to pass between processes.
        """
        ray = import_ray()
        state = WorkerState(socket.gethostname(), os.getpid())
        ray.get(self._handout.join.remote(self._name, state))
        reporter = Reporter(self._handout, self._name)

        def clips() -> Iterator[Clip]:
            while given := ray.get(self._handout.next.remote(self._name, group)):
                yield from given

        try:
            seconds = extract(clips(), reporter)
        except StepcliError as error:
            return str(error)
        reporter.tell()
        return seconds


@dataclass(slots=True)
class _Crew:
    """The driver's side: starts workers, notices when they end, hands out again what they had."""

    ray: Any
    store: Store
    handout: Any
    extract: Extract
    options: RayOptions
    actors: dict[Any, tuple[str, Any]] = field(default_factory=dict)
    """A worker's pending result -> its name and its actor."""
    started: int = 0
    lost: int = 0
    repeated: int = 0
    """Clips that were worked through and then lost with their worker."""
    fruitless: int = 0
    seconds: list[StageSeconds] = field(default_factory=list)

    def start(self) -> None:
        name = f"worker-{self.started}"
        self.started += 1
        # A lost actor is not restarted by Ray: the driver must first hand its clips out again.
        actor = (
            self.ray.remote(Worker)
            .options(num_cpus=self.options.cpus, num_gpus=self.options.gpus, max_restarts=0)
            .remote(name, self.handout, Path.cwd())
        )
        result = actor.run.remote(self.extract, self.options.group)
        self.actors[result] = (name, actor)

    def collect(self, result: Any) -> None:
        """Take the result of a worker that has ended, in whichever way."""
        name, _ = self.actors.pop(result)
        try:
            outcome = self.ray.get(result)
        except self.ray.exceptions.RayActorError:
            self._mourn(name)
            return
        if isinstance(outcome, str):
            raise WorkerFailed(outcome)
        self.seconds.append(outcome)
        self.ray.get(self.handout.finished.remote(name))

    def _mourn(self, name: str) -> None:
        before = len(self.store)
        self.store.refresh()
        self.lost += 1
        self.fruitless = 0 if len(self.store) > before else self.fruitless + 1
        settled = frozenset(self.store.ids) | frozenset(self.store.quarantined())
        again, repeated = self.ray.get(self.handout.lost.remote(name, settled))
        self.repeated += repeated
        _say(f"{name} was lost; {again} clips that it had not stored are handed out again")
        if self.fruitless >= FRUITLESS_LOSSES:
            raise WorkersLost(
                f"{self.fruitless} workers were lost one after another and no clip was stored in "
                "between; look at Ray's logs (memory?), or ask for fewer workers a machine"
            )

    def stop(self) -> None:
        """Let workers commit what they have finished, then end them."""
        self.handout.stop.remote()
        if self.actors:
            self.ray.wait(list(self.actors), num_returns=len(self.actors), timeout=GRACE_SECONDS)
        for _, actor in self.actors.values():
            self.ray.kill(actor)


def run(
    ray: Any,
    clips: Sequence[Clip],
    store: Store,
    extract: Extract,
    options: RayOptions,
    progress: Progress,
) -> StageSeconds:
    """Extract clips into a store that every worker reaches under the same path or URL.

    Args:
        ray: the connected module.
        clips: those to do, none of them committed.
        store: where to.
        extract: what each worker does; travels to it, so it holds plain data alone.
        options: how to use the cluster.
        progress: told of each clip.

    Returns:
        Where the time went, summed over workers; `total` is this run's own.

    Raises:
        WorkersLost: workers end again and again.
        WorkerFailed: one met an error that would meet every other too.
        KeyboardInterrupt: finished clips are committed.
    """
    started = grown = time.monotonic()
    handout = ray.remote(Handout).options(num_cpus=0, max_concurrency=1).remote(list(clips))
    crew = _Crew(ray, store, handout, extract, options)
    board = _Board(progress)
    wanted = min(options.fitting(ray.cluster_resources()), len(clips))
    try:
        while ray.get(handout.outstanding.remote()):
            waiting = ray.get(handout.waiting.remote())
            while waiting > 0 and len(crew.actors) < wanted:
                crew.start()
                waiting -= options.group
            ended, _ = ray.wait(list(crew.actors), timeout=LOOK_SECONDS)
            board.show(ray.get(handout.workers.remote()), crew.repeated)
            for result in ended:
                crew.collect(result)
            if time.monotonic() - grown > GROW_SECONDS:
                grown = time.monotonic()
                wanted = options.fitting(ray.cluster_resources())
    finally:
        crew.stop()
    board.report(crew.lost)
    return _summed(crew.seconds, time.monotonic() - started)


class _Board:
    """Shows centrally what the workers report."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._workers: dict[str, WorkerState] = {}
        self._done = self._quarantined = 0
        self._started = time.monotonic()

    def show(self, workers: dict[str, WorkerState], repeated: int) -> None:
        """Bring the progress up to date.

        Args:
            workers: all that run.
            repeated: clips that count twice, because a lost worker had done them before.
        """
        self._workers |= workers
        done = sum(state.done for state in self._workers.values()) - repeated
        quarantined = sum(state.quarantined for state in self._workers.values())
        for _ in range(done - self._done):
            self._progress.clip_done()
        for _ in range(quarantined - self._quarantined):
            self._progress.clip_quarantined()
        self._done, self._quarantined = max(done, self._done), quarantined

    def report(self, lost: int) -> None:
        """Say at the end what each worker did."""
        seconds = time.monotonic() - self._started
        for name, state in self._workers.items():
            _say(
                f"{name} on {state.host}: {state.done} clips, {state.done / seconds:.1f} clips/s, "
                f"{state.quarantined} quarantined"
            )
        if lost:
            _say(f"{lost} workers were lost on the way, in {duration(seconds)}")


def _summed(parts: Sequence[StageSeconds], total: float) -> StageSeconds:
    names = StageSeconds.__dataclass_fields__.keys() - {"total"}
    return StageSeconds(
        total=total, **{name: sum(getattr(part, name) for part in parts) for name in names}
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 (this is the command's own voice)
