"""`--engine ray`: one pipeline per worker of a Ray cluster, all writing into one store.

The driver keeps a `WorkQueue` in an actor; each worker is an actor that runs the usual pipeline on
clips from it and writes parts of its own. Workers may join and leave. When the queue is empty and
all workers have ended, what the store still lacks (the open parts of lost workers) is queued again.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcli.cache.store.store import Store
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.engines.ray_worker import CLIPS_AT_ONCE, Extract, Worker
from stepcli.extract.engines.work_queue import WorkerState, WorkQueue
from stepcli.extract.pipeline.progress import ExtractionProgress
from stepcli.extract.pipeline.stages import StageSeconds
from stepcli.extract.sources.stock import Redo, what_is_left
from stepcli.runtime.preemption import GRACE_SECONDS
from stepcli.runtime.ray_cluster import WorkerFailed, WorkersLost, on_node
from stepcli.runtime.words import counted

FRUITLESS_LOSSES = 10
"""Workers lost one after another, with no clip stored in between, that end the run."""
POLL_SECONDS = 0.5
"""Between two looks of the driver at its workers."""
GROW_SECONDS = 10.0
"""Between two looks whether the cluster has grown."""
USUAL_CPUS = 4.0


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What one worker reserves of its node."""

    cpus: float
    gpus: float

    @classmethod
    def of(cls, config: ExtractConfig, nodes: Sequence[Mapping[str, float]]) -> "WorkerShare":
        """As the config says; else a GPU with its part of the node's cores, or a few cores.

        Args:
            config: of the run.
            nodes: "CPU" and "GPU" of each node.
        """
        gpus = config.worker_gpus
        if gpus is None:
            gpus = 1.0 if any(node.get("GPU") for node in nodes) else 0.0
        with_gpus = [node for node in nodes if node.get("GPU")]
        if gpus and with_gpus:
            usual = min(node.get("CPU", 1.0) // (node["GPU"] / gpus) for node in with_gpus)
        else:
            usual = min(USUAL_CPUS, max(node.get("CPU", 1.0) for node in nodes))
        return cls(config.worker_cpus or max(1.0, usual), gpus)

    def fitting(self, nodes: Sequence[Mapping[str, float]], at_most: int | None) -> int:
        """How many workers the nodes hold."""
        count = 0
        for node in nodes:
            room = node.get("CPU", 0.0) / self.cpus
            if self.gpus:
                room = min(room, node.get("GPU", 0.0) / self.gpus)
            count += int(room)
        return min(count, at_most or count)


def run(
    ray: Any,
    clips: Sequence[Clip],
    store: Store,
    extract: Extract,
    config: ExtractConfig,
    progress: ExtractionProgress,
    redo: Redo | None = None,
) -> StageSeconds:
    """Extract clips into a store that every worker reaches under the same path or URL.

    Args:
        ray: the connected module.
        clips: those to do, none of them committed.
        store: where to.
        extract: what each worker runs; travels to it, so it holds plain data alone.
        config: how to use the cluster.
        progress: shows the counts, and the workers.
        redo: clips whose stored tokens do not count.

    Returns:
        Seconds spent in each stage, summed over workers; `total` is this run's own.

    Raises:
        WorkersLost: workers end again and again.
        WorkerFailed: one met an error that would meet every other too.
        KeyboardInterrupt: finished clips are committed.
    """
    started = time.monotonic()
    driver = _Driver(ray, store, extract, config, progress)
    tried = {clip: failure.attempt for clip, failure in store.quarantined().items()}
    left = clips
    try:
        while left:
            losses = driver.losses
            driver.work(left)
            store.refresh()
            left = _unsettled(store, left, tried, redo) if driver.losses > losses else ()
    except ray.exceptions.RayActorError as error:
        reason = str(error).strip().rpartition("\n")[2]
        raise WorkersLost(
            f"the queue of clips on this machine was lost, or never ran ({reason}); the same "
            "command resumes; some clusters ask for a token: 'Who may join' in docs/clusters.md"
        ) from error
    finally:
        driver.stop()
    return driver.report(time.monotonic() - started)


def _unsettled(
    store: Store, clips: Sequence[Clip], tried: Mapping[str, int], redo: Redo | None
) -> list[Clip]:
    """Clips neither stored nor quarantined since the run began."""
    todo = what_is_left(store, clips, redo=redo)
    old = {
        failure.id for failure in todo.quarantined if failure.attempt <= tried.get(failure.id, 0)
    }
    again = {clip.id: clip for clip in todo.left}
    return list(again.values()) + [
        clip for clip in clips if clip.id not in again and not old.isdisjoint(clip.stored_ids)
    ]


class _Driver:
    """Starts workers, notices when they end, and shows what they report."""

    def __init__(
        self,
        ray: Any,
        store: Store,
        extract: Extract,
        config: ExtractConfig,
        progress: ExtractionProgress,
    ) -> None:
        self._ray = ray
        self._store = store
        self._extract = (extract.__module__, [ray.put(extract)])
        self._progress = progress
        self._at_most = config.ray_workers
        self._share = WorkerShare.of(config, self._nodes())
        # Here, and nowhere else: a lost node must not take the queue along.
        here = on_node(ray, ray.get_runtime_context().get_node_id(), soft=False)
        queue = ray.remote(WorkQueue).options(num_cpus=0, scheduling_strategy=here)
        self._queue = queue.remote()
        self._actors: dict[Any, tuple[str, Any]] = {}
        """A worker's pending result -> its name and its actor."""
        self._settled = 0
        """Clips settled in earlier rounds."""
        self._states: dict[str, WorkerState] = {}
        self._seconds: list[StageSeconds] = []
        self._started = self._fruitless = self.losses = 0
        each = f"{self._share.cpus:g} cores and {self._share.gpus:g} GPUs"
        progress.say(f"Ray: up to {counted(self._fitting(), 'worker')}, each with {each}")
        if not self._fitting():
            progress.say(f"no node of the cluster has {each}; waiting for one to join")

    def work(self, clips: Sequence[Clip]) -> None:
        """Keep as many workers as fit until the queue is empty and all have ended."""
        ids = sum(len(clip.stored_ids) for clip in clips)
        self._settled = self._progress.total - ids
        self._ray.get(self._queue.fill.remote(list(clips)))
        waiting, grown = len(clips), -math.inf
        while waiting or self._actors:
            if time.monotonic() - grown > GROW_SECONDS:
                grown = time.monotonic()
                # One that waits for its place tells an autoscaler to make it.
                wanted = max(1, self._fitting())
            expected = waiting
            while expected > 0 and len(self._actors) < wanted:
                self._start()
                expected -= CLIPS_AT_ONCE
            ended, _ = self._ray.wait(list(self._actors), timeout=POLL_SECONDS)
            waiting = self._look()
            for result in ended:
                self._collect(result)

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _fitting(self) -> int:
        return self._share.fitting(self._nodes(), self._at_most)

    def _start(self) -> None:
        name = f"worker-{self._started}"
        self._started += 1
        actor = (
            self._ray.remote(Worker)
            .options(num_cpus=self._share.cpus, num_gpus=self._share.gpus, max_restarts=0)
            .remote(name, self._queue, Path.cwd())
        )
        self._actors[actor.run.remote(*self._extract)] = (name, actor)

    def _look(self) -> int:
        """Show what the workers have reported; how many clips wait."""
        waiting, states = self._ray.get(self._queue.state.remote())
        self._states |= states
        done = sum(state.done for state in states.values())
        quarantined = sum(state.quarantined for state in states.values())
        self._progress.workers = workers_text(states, self.losses)
        self._progress.settle(self._settled + done, quarantined)
        return int(waiting)

    def _collect(self, result: Any) -> None:
        """Take the result of a worker that has ended, in whichever way."""
        name, actor = self._actors.pop(result)
        try:
            outcome = self._ray.get(result)
        except self._ray.exceptions.RayTaskError:
            raise  # a mistake in the program
        except self._ray.exceptions.RayError as error:  # killed, out of memory, out of reach
            if getattr(error, "actor_init_failed", False):
                said = str(error).strip().rpartition("\n")[2]
                raise WorkerFailed(
                    f"a worker could not be started ({said}); every machine of the cluster needs "
                    "the same stepcli with the same packages"
                ) from error
            self._ray.kill(actor)  # it may only be out of reach
            self._lose(name)
            return
        if isinstance(outcome, str):
            raise WorkerFailed(outcome)
        if outcome is not None:
            self._seconds.append(outcome)

    def _lose(self, name: str) -> None:
        self.losses += 1
        self._ray.get(self._queue.lose.remote(name))
        before = len(self._store)
        self._store.refresh()
        self._fruitless = 0 if len(self._store) > before else self._fruitless + 1
        self._progress.say(f"{name} was lost; clips that it had not stored are done at the end")
        if self._fruitless >= FRUITLESS_LOSSES:
            raise WorkersLost(
                f"{self._fruitless} workers were lost one after another and no clip was stored in "
                "between; look at Ray's logs (memory?), or ask for fewer workers per machine"
            )

    def stop(self) -> None:
        """Let workers commit what they have finished, then end them."""
        self._queue.stop.remote()
        try:
            _, begun = self._ray.get(self._queue.state.remote())
        except self._ray.exceptions.RayActorError:
            begun = {}  # workers end by themselves where the queue does not answer
        at_work = [result for result, (name, _) in self._actors.items() if name in begun]
        if at_work:  # others still wait for a place, or for their process
            self._ray.wait(at_work, num_returns=len(at_work), timeout=GRACE_SECONDS)
        for _, actor in self._actors.values():
            self._ray.kill(actor)

    def report(self, total: float) -> StageSeconds:
        """Say what each worker did; seconds in each stage, summed over workers."""
        for name, state in self._states.items():
            rate = f", {state.rate:.1f} clips/s" if state.rate else ""
            self._progress.say(
                f"{name} on {state.host}: {state.done} done, {state.quarantined} quarantined{rate}"
            )
        if self.losses:
            self._progress.say(f"{counted(self.losses, 'worker')} lost; their clips were redone")
        names = StageSeconds.__dataclass_fields__.keys() - {"total"}
        sums = {name: sum(getattr(part, name) for part in self._seconds) for name in names}
        return StageSeconds(total=total, **sums)


def workers_text(states: Mapping[str, WorkerState], losses: int) -> str:
    """E.g. "workers: 2, slowest worker-1 on b (3.1 clips/s), fastest 4.0; lost: 1"."""
    text = f"workers: {len(states)}"
    rates = {name: state.rate for name, state in states.items() if state.rate}
    if rates:
        slowest = min(rates, key=rates.__getitem__)
        text += f", slowest {slowest} on {states[slowest].host} ({rates[slowest]:.1f} clips/s)"
        text += f", fastest {max(rates.values()):.1f}"
    return f"{text}; lost: {losses}" if losses else text
