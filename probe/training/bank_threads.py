"""The banks of one pass, worked on side by side: a thread for each as far as the cores go.

A step is many small operations. Spread over all cores, each of them ends in a barrier, and one
late core holds the others up (measured on two shared cores: 2.5 times slower per step, most of it
waiting). A bank per thread meets the others once a step.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew(AbstractContextManager["Crew"]):
    """Threads for work on several banks; none on a GPU, whose one queue keeps their order."""

    def __init__(self, banks: int, device: torch.device) -> None:
        """Threads for `banks` banks."""
        self._cores = torch.get_num_threads()
        threads = min(self._cores, banks) if device.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None
        if threads > 1:
            self._pool = ThreadPoolExecutor(
                threads, initializer=torch.set_num_threads, initargs=(self._cores // threads,)
            )

    def each(
        self, work: Callable[[Item], Result], items: Sequence[Item], cost: Callable[[Item], float]
    ) -> list[Result]:
        """`work` on every item; results in the items' order. The first error is raised.

        The costliest begin first, so that none begins when the others are done. Whatever happens,
        no work is running when this returns.
        """
        if self._pool is None:
            return [work(item) for item in items]
        order = sorted(range(len(items)), key=lambda i: -cost(items[i]))
        futures = {i: self._pool.submit(work, items[i]) for i in order}
        wait(futures.values())
        return [futures[i].result() for i in range(len(items))]

    def alone(self) -> None:
        """One item after another from now on: less memory at once."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
            torch.set_num_threads(self._cores)

    def __exit__(self, *error: object) -> None:
        """Wait for what has begun, and give the caller back its cores."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self.alone()
