"""The banks of one pass, worked on side by side: a thread for each as far as the cores go.

A step is many small operations. Spread over all cores, each of them ends in a barrier, and one
late core holds the others up (measured on two shared cores: 2.5 times slower a step, most of it
waiting). A bank a thread meets the others once a step.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

import torch

from stepcli.probe.bank import Probe

Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew(AbstractContextManager["Crew"]):
    """Threads for work on several banks; none on a GPU, whose one queue keeps their order."""

    def __init__(self, probes: Sequence[Probe], device: torch.device) -> None:
        """A crew for the banks of these probes."""
        self._cores = torch.get_num_threads()
        threads = min(self._cores, len(probes)) if device.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None
        if threads > 1:
            self._pool = ThreadPoolExecutor(
                threads, initializer=torch.set_num_threads, initargs=(self._cores // threads,)
            )
        # The longest work first, so that no thread begins it when the others are done.
        self._order = sorted(
            range(len(probes)), key=lambda i: -probes[i].members * probes[i].parameters_each
        )

    def each(self, work: Callable[[Item], Result], banks: Sequence[Item]) -> list[Result]:
        """`work` on every bank; results in the banks' order. The first error is raised."""
        if self._pool is None:
            return [work(bank) for bank in banks]
        futures = {i: self._pool.submit(work, banks[i]) for i in self._order}
        return [futures[i].result() for i in range(len(banks))]

    def __exit__(self, *error: object) -> None:
        """Wait for the threads, and give the caller back its cores."""
        if self._pool is not None:
            self._pool.shutdown()
            torch.set_num_threads(self._cores)
