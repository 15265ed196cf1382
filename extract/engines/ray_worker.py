"""The part of `--engine ray` that runs in each actor: the pipeline, on clips that it asks for."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stepcli.cache.errors import StepcliError
from stepcli.engines.ray_cluster import import_ray
from stepcli.extract.cpu import grant_cores
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.engines.handout import WorkerState
from stepcli.extract.pipeline import StageSeconds

REPORT_SECONDS = 0.5
"""How often a worker reports at most."""
CLIPS_AT_ONCE = 8
"""Clips that a worker is given at a time."""

Extract = Callable[[Iterator[Clip], "Reporter"], StageSeconds]
"""A worker's whole work: the pipeline on clips that come one by one, telling a reporter of each."""


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
        self._tell_now_and_then()

    def clip_quarantined(self) -> None:
        """One clip more has been put aside."""
        self._quarantined += 1
        self._tell_now_and_then()

    def tell(self) -> None:
        """Report now; nobody waits for the answer."""
        self._told = time.monotonic()
        self._handout.report.remote(self._worker, self._done, self._quarantined)

    def _tell_now_and_then(self) -> None:
        if time.monotonic() - self._told >= REPORT_SECONDS:
            self.tell()


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

    def run(self, extract: Extract) -> StageSeconds | str:
        """Extract until nothing is handed out any more; the text of a StepcliError if one came.

        An error's text and not the error itself: that has to pass between processes.
        """
        ray = import_ray()
        grant_cores(ray.get_runtime_context().get_assigned_resources().get("CPU", 1.0))
        state = WorkerState(socket.gethostname(), os.getpid())
        ray.get(self._handout.join.remote(self._name, state))
        reporter = Reporter(self._handout, self._name)

        def clips() -> Iterator[Clip]:
            while given := ray.get(self._handout.next.remote(self._name, CLIPS_AT_ONCE)):
                yield from given

        try:
            seconds = extract(clips(), reporter)
        except StepcliError as error:
            return str(error)
        reporter.tell()
        return seconds
