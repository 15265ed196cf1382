"""What a bank's work takes: by the host's clock, or by the GPU's, which works on by itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class BankClock:
    """Adds up stretches of work of one bank."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

        self.busy = 0.0
        """Seconds that have not been shared out yet; on a GPU those that `settle` has seen."""

    @contextmanager
    def work(self) -> Iterator[None]:
        """Time a stretch that ends well."""
        if self._device.type == "cuda":
            begin, end = (
                torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
                for _ in range(2)
            )
            stream = torch.cuda.current_stream(self._device)  # else the first GPU's
            begin.record(stream)
            yield
            end.record(stream)
            self._spans.append((begin, end))
        else:
            started = time.perf_counter()
            yield
            self.busy += time.perf_counter() - started

    def settle(self) -> None:
        """Add up what the GPU took; the host has waited for all of it."""
        self.busy += sum(begin.elapsed_time(end) for begin, end in self._spans) / 1000
        self._spans.clear()
