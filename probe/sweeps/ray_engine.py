"""`sweep --engine ray`: banks as tasks of a Ray cluster; every task writes its own runs.

A member of a bank ends as it would alone, and the order of the data is the sweep's own, so it does
not matter how the probes are divided: the table is the local engine's. A lost worker's task is
started again by Ray, and resumes from the last saved epoch.
"""

import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from stepcli.cache.storage.places import place_of
from stepcli.cache.store.store import open_store
from stepcli.probe.config import RunConfig
from stepcli.probe.methods.registry import methods
from stepcli.probe.sweeps.progress import SweepProgress
from stepcli.probe.sweeps.session import Session
from stepcli.probe.sweeps.tracking import open_trackers
from stepcli.probe.training.plan import PassPlan
from stepcli.runtime.errors import StepcliError, UsageError
from stepcli.runtime.preemption import GRACE_SECONDS
from stepcli.runtime.ray_cluster import WorkerFailed, WorkersLost, on_node, ray_cluster
from stepcli.runtime.terminal import say
from stepcli.runtime.words import counted

RETRIES = 5
"""How often a task is started again whose worker was lost."""
USUAL_CPUS = 4
"""Cores per task where the node has them."""


class RaySession(Session):
    """A session whose probes are trained by the workers of a cluster.

    Store and runs must have the same path, or URL, on every node that is to take part. The cluster
    is joined by the first training and left when the context ends: a search trains many times.
    """

    def __init__(
        self,
        store: Path,
        runs: Path,
        device: str,
        *,
        address: str | None = None,
        cpus: int | None = None,
        trackers: Sequence[str] = (),
        strict: bool = False,
    ) -> None:
        """Open the store here; nodes open it for themselves.

        Args:
            store: Its folder.
            runs: Folder of the runs; made when missing.
            device: Of the workers: "auto", "cpu" or "cuda".
            address: The cluster's, as for `ray.init`; None: RAY_ADDRESS, else this machine alone.
            cpus: Cores per task; None: as many as the smallest node has, at most 4.
            trackers: See Session; they hear of runs, not of epochs.
            strict: See Session.
        """
        device_here = "cpu" if device == "cpu" else "auto"
        super().__init__(store, runs.absolute(), device_here, strict=strict)
        self._worker_device = device
        self._address = address
        self._cpus = cpus
        self._share_trackers = tuple(trackers)
        self._joined = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._joined.close()

    def _train(self, plans: Sequence[PassPlan]) -> None:
        trackers = open_trackers(self._share_trackers, self.runs)  # may refuse: before work begins
        ray = self._joined.enter_context(ray_cluster(self._address))
        nodes = self._nodes(ray)
        gpus = int(self._worker_device != "cpu" and any("GPU" in n for n in nodes.values()))
        cpus = self._cpus or min(USUAL_CPUS, *(int(n.get("CPU", 1)) for n in nodes.values()))
        slots = sum(int(n.get("GPU", 0) if gpus else n["CPU"] // cpus) for n in nodes.values())
        every = shares(plans, max(slots, 1))
        say(f"Ray: {counted(len(every), 'bank')} on {len(nodes)} nodes, {slots} at once")
        work = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(train_share)
        pending = {}
        for number, share in enumerate(every):
            place = on_node(ray, list(nodes)[number % len(nodes)], soft=True)
            task = work.options(scheduling_strategy=place).remote(
                place_of(self._source.store).address, str(self.runs), self._worker_device, share
            )
            pending[task] = share
        runs = sum(map(len, every))
        with SweepProgress(len(every), runs, trackers, unit="bank") as progress:
            try:
                while pending:
                    done, _ = ray.wait(list(pending), num_returns=1)
                    self._collect(_outcome(ray, done[0]), pending.pop(done[0]), progress)
            except KeyboardInterrupt:
                # Ray 2.60 may abort this process where a task ends while it is being cancelled.
                _, running = ray.wait(list(pending), num_returns=len(pending), timeout=0)
                for task in running:
                    ray.cancel(task)  # as Ctrl-C there: the state of its pass is kept
                ray.wait(list(pending), num_returns=len(pending), timeout=GRACE_SECONDS)
                raise

    def _nodes(self, ray: Any) -> dict[str, Mapping[str, float]]:
        """Nodes that see this very store, with their resources."""
        alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
        sees = ray.remote(num_cpus=0)(sees_store)
        answers = {
            name: sees.options(scheduling_strategy=on_node(ray, name, soft=False)).remote(
                place_of(self._source.store).address, self.store.fingerprint
            )
            for name in alive
        }
        found = {name: alive[name] for name, answer in answers.items() if ray.get(answer)}
        if not found:
            raise UsageError(
                f"none of the {len(alive)} nodes of the cluster sees the store "
                f"{self._source.store} as this machine does; put it on storage that all share, "
                "under the same path"
            )
        return found

    def _collect(
        self, failure: str | None, configs: Sequence[RunConfig], progress: SweepProgress
    ) -> None:
        if failure is not None:
            raise WorkerFailed(failure)
        for config in configs:
            name = self.name(config)
            progress.run(self._record(name), str(self.runs / name))
        progress.advance()


def shares(plans: Sequence[PassPlan], slots: int) -> list[list[RunConfig]]:
    """Configs bank by bank; the largest banks are halved until there is one for every slot."""
    banks: dict[object, list[RunConfig]] = {}
    for number, plan in enumerate(plans):
        for config in plan.configs:
            banks.setdefault((number, config.method, str(config.options)), []).append(config)
    parts = list(banks.values())
    while len(parts) < slots and max(map(len, parts)) > 1:
        largest = max(parts, key=len)
        parts.remove(largest)
        middle = len(largest) // 2
        parts += [largest[:middle], largest[middle:]]
    return sorted(parts, key=len, reverse=True)


def train_share(store: str, runs: str, device: str, configs: list[RunConfig]) -> str | None:
    """On a worker: train some of a sweep's probes; the text of a StepcliError if one came."""
    # ray.cancel interrupts by SIGINT, which a cluster begun in the background was told to ignore.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for config in configs:  # the sweep's user named them: this process has not run their files
            methods().load(config.method)
        Session(Path(store), Path(runs), device).run(configs)
    except StepcliError as error:
        return str(error)
    return None


def _outcome(ray: Any, task: Any) -> str | None:
    """What `train_share` answered."""
    try:
        outcome: str | None = ray.get(task)
    except ray.exceptions.RayTaskError:
        raise  # a mistake in the program
    except ray.exceptions.RayError as error:
        reason = str(error).strip().partition("\n")[0]
        raise WorkersLost(
            f"the worker of a bank was lost {RETRIES + 1} times ({reason}); look at Ray's logs "
            "(memory?); the same command resumes from the last saved epoch"
        ) from error
    return outcome


def sees_store(store: str, fingerprint: str) -> bool:
    """On a node: whether the store is there, with these tokens."""
    try:
        return open_store(store).fingerprint == fingerprint
    except StepcliError:
        return False
