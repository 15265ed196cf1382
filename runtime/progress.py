"""Progress of long work on a store: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import TYPE_CHECKING, NoReturn, Self

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_SECONDS = 10.0
"""Between two plain lines; work that takes less says nothing."""


class Progress:
    """Counts things done; a context manager whose `show` is what the work calls."""

    def __init__(self, what: str, unit: str) -> None:
        self._what = what
        self._unit = unit
        self._bar: tqdm[NoReturn] | None = None
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(desc=self._what, unit=f" {self._unit}", dynamic_ncols=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int) -> None:
        """So many are done, of so many in all."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            seconds = (now - self._started) * (total - done) / done
            sys.stderr.write(
                f"{self._what}: {done} of {total} {self._unit}s, {seconds:.0f} s left\n"
            )
            sys.stderr.flush()
