"""`--engine ray`: one pipeline a worker of a Ray cluster, all writing into one store.

The driver keeps a `Handout` in an actor of its own; each worker is an actor that runs the usual
pipeline on clips that it asks for a few at a time, and writes parts of its own. So a slow video
or host holds up nobody, workers may come and go, and one that is lost costs its open part: what it
had been given and not stored is handed out again.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepcli.cache.store.store import Store
from stepcli.extract.config import RayOptions
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.engines.ray_worker import CLIPS_AT_ONCE, Extract, Worker
from stepcli.extract.engines.work_queue import Handout
from stepcli.extract.engines.worker_status import Board
from stepcli.extract.pipeline.progress import ExtractionProgress
from stepcli.extract.pipeline.stages import StageSeconds
from stepcli.extract.sources.todo import Redo, what_is_left
from stepcli.runtime.preemption import GRACE_SECONDS
from stepcli.runtime.ray_cluster import WorkerFailed, WorkersLost, on_node

FRUITLESS_LOSSES = 10
"""So many workers lost one after another, with no clip stored between, end the run."""
LOOK_SECONDS = 0.5
"""How often the driver looks at its workers."""
GROW_SECONDS = 10.0
"""How often the driver looks whether the cluster has grown."""
USUAL_CPUS = 4.0


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What one worker reserves of its node."""

    cpus: float
    gpus: float

    @classmethod
    def of(cls, options: RayOptions, nodes: Sequence[Mapping[str, float]]) -> "WorkerShare":
        """As asked for; else a GPU with its part of its node's cores, or a few cores.

        Args:
            options: the user's.
            nodes: "CPU" and "GPU" of each node.
        """
        gpus = options.gpus
        if gpus is None:
            gpus = 1.0 if any(node.get("GPU") for node in nodes) else 0.0
        with_gpus = [node for node in nodes if node.get("GPU")]
        if gpus and with_gpus:
            usual = min(node.get("CPU", 1.0) // (node["GPU"] / gpus) for node in with_gpus)
        else:
            usual = min(USUAL_CPUS, max(node.get("CPU", 1.0) for node in nodes))
        return cls(options.cpus or max(1.0, usual), gpus)

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
    options: RayOptions,
    progress: ExtractionProgress,
    redo: Redo | None = None,
) -> StageSeconds:
    """Extract clips into a store that every worker reaches under the same path or URL.

    Args:
        ray: the connected module.
        clips: those to do, none of them committed.
        store: where to.
        extract: what each worker does; travels to it, so it holds plain data alone.
        options: how to use the cluster.
        progress: told of each clip, and of the workers.
        redo: clips whose stored tokens do not count.

    Returns:
        Where the time went, summed over workers; `total` is this run's own.

    Raises:
        WorkersLost: workers end again and again.
        WorkerFailed: one met an error that would meet every other too.
        KeyboardInterrupt: finished clips are committed.
    """
    started = time.monotonic()
    # Here, and nowhere else: a lost node must not take along who has which clips.
    here = on_node(ray, ray.get_runtime_context().get_node_id(), soft=False)
    keeper = ray.remote(Handout).options(num_cpus=0, scheduling_strategy=here)
    handout = keeper.remote(list(clips))
    share = WorkerShare.of(options, _nodes(ray))
    crew = _Crew(ray, store, handout, extract, share, options.workers, Board(progress), redo)
    fitting = crew.fitting()
    each = f"{share.cpus:g} cores and {share.gpus:g} GPUs"
    progress.say(f"Ray: up to {fitting} workers, each with {each}")
    if not fitting:
        progress.say(f"no node of the cluster has {each}; waiting for one to join")
    try:
        crew.work()
    except ray.exceptions.RayActorError as error:
        reason = str(error).strip().rpartition("\n")[2]
        raise WorkersLost(
            f"what hands out the clips on this machine was lost, or never ran ({reason}); the same "
            "command goes on; some clusters ask for a token: 'Who may join' in docs/clusters.md"
        ) from error
    finally:
        crew.stop()
    seconds = time.monotonic() - started
    crew.board.report()
    return _summed(crew.seconds, seconds)


def _nodes(ray: Any) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _summed(parts: Sequence[StageSeconds], total: float) -> StageSeconds:
    names = StageSeconds.__dataclass_fields__.keys() - {"total"}
    return StageSeconds(
        total=total, **{name: sum(getattr(part, name) for part in parts) for name in names}
    )


@dataclass(slots=True)
class _Crew:
    """Starts workers, notices when they end, hands out again what a lost one had."""

    ray: Any
    store: Store
    handout: Any
    extract: Extract
    share: WorkerShare
    at_most: int | None
    board: Board
    redo: Redo | None = None
    actors: dict[Any, tuple[str, Any]] = field(default_factory=dict)
    """A worker's pending result -> its name and its actor."""
    started: int = 0
    fruitless: int = 0
    seconds: list[StageSeconds] = field(default_factory=list)

    def fitting(self) -> int:
        """How many workers the cluster holds now."""
        return self.share.fitting(_nodes(self.ray), self.at_most)

    def work(self) -> None:
        """Keep as many workers as fit until every clip is settled."""
        grown = -math.inf
        while self.ray.get(self.handout.outstanding.remote()):
            if time.monotonic() - grown > GROW_SECONDS:
                grown = time.monotonic()
                # One that waits for its place tells an autoscaler to make it.
                wanted = max(1, self.fitting())
            waiting = self.ray.get(self.handout.waiting.remote())
            while waiting > 0 and len(self.actors) < wanted:
                self.start()
                waiting -= CLIPS_AT_ONCE
            ended, _ = self.ray.wait(list(self.actors), timeout=LOOK_SECONDS)
            self.look()
            for result in ended:
                self.collect(result)

    def start(self) -> None:
        name = f"worker-{self.started}"
        self.started += 1
        # A lost actor is not restarted by Ray: its clips have to be handed out again first.
        actor = (
            self.ray.remote(Worker)
            .options(num_cpus=self.share.cpus, num_gpus=self.share.gpus, max_restarts=0)
            .remote(name, self.handout, Path.cwd())
        )
        self.actors[actor.run.remote(self.extract)] = (name, actor)

    def look(self) -> None:
        """Show what the workers have reported."""
        self.board.show(self.ray.get(self.handout.workers.remote()))

    def collect(self, result: Any) -> None:
        """Take the result of a worker that has ended, in whichever way."""
        name, actor = self.actors.pop(result)
        try:
            outcome = self.ray.get(result)
        except self.ray.exceptions.RayTaskError:
            raise  # a mistake in the program
        except self.ray.exceptions.RayError:  # killed, out of memory, out of reach
            self.ray.kill(actor)  # it may only be out of reach
            self._mourn(name)
            return
        if isinstance(outcome, str):
            raise WorkerFailed(outcome)
        self.look()  # what it told last
        if outcome is not None:
            self.seconds.append(outcome)
        self.ray.get(self.handout.left.remote(name))

    def stop(self) -> None:
        """Let workers commit what they have finished, then end them."""
        self.handout.stop.remote()
        try:
            began = self.ray.get(self.handout.workers.remote())
        except self.ray.exceptions.RayActorError:
            began = {}  # workers end by themselves where nobody answers them
        at_work = [result for result, (name, _) in self.actors.items() if name in began]
        if at_work:  # others still wait for a place, or for their process
            self.ray.wait(at_work, num_returns=len(at_work), timeout=GRACE_SECONDS)
        for _, actor in self.actors.values():
            self.ray.kill(actor)

    def _mourn(self, name: str) -> None:
        self.board.lost += 1
        before = len(self.store)
        self.store.refresh()
        self.fruitless = 0 if len(self.store) > before else self.fruitless + 1
        todo = what_is_left(
            self.store, self.ray.get(self.handout.left.remote(name)), redo=self.redo
        )
        settled = len(todo.done) + len(todo.quarantined)
        self.board.repeated += max(0, self.board.reported(name) - settled)
        self.ray.get(self.handout.again.remote(todo.left))
        self.board.say(
            f"{name} was lost; {todo.left_count} clips that it had not stored are handed out again"
        )
        if self.fruitless >= FRUITLESS_LOSSES:
            raise WorkersLost(
                f"{self.fruitless} workers were lost one after another and no clip was stored in "
                "between; look at Ray's logs (memory?), or ask for fewer workers a machine"
            )
