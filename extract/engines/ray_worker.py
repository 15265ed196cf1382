"""The part of `--engine ray` that runs in each actor: the pipeline, on clips that it asks for."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from stepcli.extract.datasets.clip import Clip
from stepcli.extract.engines.work_queue import WorkerState
from stepcli.extract.pipeline.stages import StageSeconds
from stepcli.runtime.errors import StepcliError
from stepcli.runtime.ray_cluster import import_ray
from stepcli.runtime.threads import grant_cores

REPORT_SECONDS = 0.5
"""How often a worker reports, and hears whether it is to stop."""
CLIPS_AT_ONCE = 8
"""Clips that a worker is given at a time."""

Extract = Callable[[Iterator[Clip], "Reporter"], StageSeconds]
"""A worker's whole work: the pipeline on clips that come one by one, telling a reporter of each."""


class Reporter:
    """Stands in for the progress bar in a worker: a thread of it tells the driver's handout now
    and then, and interrupts the worker's work, as Ctrl-C would, when the driver wants to stop.

    Use it as a context manager, in the main thread. KeyboardInterrupt comes up inside it only.
    """

    def __init__(self, handout: Any, worker: str) -> None:
        self._handout = handout
        self._worker = worker
        self._done = self._quarantined = 0
        self._main = threading.get_ident()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._tell_now_and_then, name="reporter")

    def clip_done(self) -> None:
        """One clip more has been written."""
        self._done += 1

    def clip_quarantined(self) -> None:
        """One clip more has been put aside."""
        self._quarantined += 1

    def __enter__(self) -> Self:
        # Whatever Ray has put there: a blocked main thread wakes up for a signal alone.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._ended.set()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._thread.join()

    def _tell_now_and_then(self) -> None:
        ray = import_ray()
        while True:
            last = self._ended.wait(REPORT_SECONDS)
            report = self._handout.report.remote(self._worker, self._done, self._quarantined)
            try:
                go_on = ray.get(report)
            except ray.exceptions.RayError:  # nobody is left to work for
                go_on = False
            if last:
                return
            if not go_on:
                with self._lock:
                    if not self._ended.is_set():
                        signal.pthread_kill(self._main, signal.SIGINT)
                return


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

    def run(self, extract: Extract) -> StageSeconds | str | None:
        """Extract until nothing is handed out any more.

        Returns:
            Where the time went; None when the driver wanted to stop, and every finished clip is
            stored; the text of a StepcliError if one came: it has to pass between processes.
        """
        ray = import_ray()
        grant_cores(ray.get_runtime_context().get_assigned_resources().get("CPU", 1.0))
        state = WorkerState(socket.gethostname(), os.getpid())
        ray.get(self._handout.join.remote(self._name, state))

        def clips() -> Iterator[Clip]:
            while given := ray.get(self._handout.next.remote(self._name, CLIPS_AT_ONCE)):
                yield from given

        try:
            with Reporter(self._handout, self._name) as reporter:
                return extract(clips(), reporter)
        except StepcliError as error:
            return str(error)
        except KeyboardInterrupt:
            return None
