"""The part of `--engine ray` that runs in each worker: the pipeline, on clips from the queue.

Light to import: what a worker needs is loaded in `Worker.run`, which can say what does not load.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stepcli.extract.datasets.clip import Clip
from stepcli.runtime.errors import StepcliError
from stepcli.runtime.extras import failed_import
from stepcli.runtime.ray_cluster import import_ray

if TYPE_CHECKING:
    from stepcli.extract.pipeline.stages import StageSeconds

REPORT_SECONDS = 0.5
"""Between two reports of a worker, each of which may be answered with "stop"."""
CLIPS_AT_ONCE = 8
"""Clips that a worker takes from the queue at a time."""

Extract = Callable[[Iterator[Clip], "Reporter"], "StageSeconds"]
"""The whole work of a worker: the pipeline, on clips that come one by one."""


class Reporter:
    """Receives a worker's progress events and passes the counts to the queue from a thread.

    When the queue answers "stop", the thread sends the main thread SIGINT, as Ctrl-C would. Use
    it as a context manager in the main thread; KeyboardInterrupt is raised inside it only.
    """

    def __init__(self, queue: Any, worker: str) -> None:
        self._queue = queue
        self._worker = worker
        self._done = self._quarantined = 0
        self._main = threading.get_ident()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._report_regularly, name="reporter")

    def clip_done(self) -> None:
        """One more clip is stored."""
        self._done += 1

    def clip_quarantined(self) -> None:
        """One more clip is quarantined."""
        self._quarantined += 1

    def __enter__(self) -> Self:
        # Over any handler of Ray's: a blocked main thread wakes up for a signal alone.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._ended.set()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._thread.join()

    def _report_regularly(self) -> None:
        ray = import_ray()
        while True:
            last = self._ended.wait(REPORT_SECONDS)
            report = self._queue.report.remote(self._worker, self._done, self._quarantined)
            try:
                go_on = ray.get(report)
            except ray.exceptions.RayError:  # the driver is gone
                go_on = False
            if last:
                return
            if not go_on:
                with self._lock:
                    if not self._ended.is_set():
                        signal.pthread_kill(self._main, signal.SIGINT)
                return


class Worker:
    """Runs as an actor.

    Args:
        name: of this worker.
        queue: the driver's `WorkQueue`, an actor.
        folder: the driver's working directory, where relative paths begin.
    """

    def __init__(self, name: str, queue: Any, folder: Path) -> None:
        if folder.is_dir():
            os.chdir(folder)
        self._name = name
        self._queue = queue

    def run(self, module: str, packed: list[Any]) -> "StageSeconds | str | None":
        """Extract until the queue is empty.

        Args:
            module: of the `Extract`, imported before Ray does so: its errors hide where they arose.
            packed: a reference to the `Extract`, in a list, or Ray would unpack it earlier.

        Returns:
            Seconds spent in each stage; None when the driver said "stop", with every finished
            clip stored; else this host, with the text of a StepcliError, which has to pass between
            processes, or with the package that does not load.
        """
        try:
            return self._run(module, packed)
        except StepcliError as error:
            return f"on {socket.gethostname()}: {error}"
        except KeyboardInterrupt:
            return None
        except Exception as error:
            if reason := failed_import(error):
                return f"on {socket.gethostname()}: {reason}"
            raise

    def _run(self, module: str, packed: list[Any]) -> "StageSeconds":
        ray = import_ray()
        import_module(module)
        extract: Extract = ray.get(packed[0])
        from stepcli.runtime.threads import grant_cores

        grant_cores(ray.get_runtime_context().get_assigned_resources().get("CPU", 1.0))
        ray.get(self._queue.join.remote(self._name, socket.gethostname()))

        def clips() -> Iterator[Clip]:
            while taken := ray.get(self._queue.next.remote(self._name, CLIPS_AT_ONCE)):
                yield from taken

        with Reporter(self._queue, self._name) as reporter:
            return extract(clips(), reporter)
