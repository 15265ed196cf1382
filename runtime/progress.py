"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from typing import NoReturn, Self

from tqdm import tqdm

from stepcli.runtime.terminal import shown

LINE_SECONDS = 10.0
"""Between two lines where there is no terminal; work that takes less prints none."""


class Progress:
    """Count units of work as they are done; use it as a context manager.

    Args:
        unit: singular, e.g. "clip".
        total: units in all; None: not known before `show` tells.
        description: printed before the counts.
    """

    def __init__(self, unit: str, total: int | None = None, *, description: str = "") -> None:
        self._unit = unit
        self._total = total
        self._description = description
        self._done = 0
        self._first: tuple[float, int] | None = None
        """When the first units were done, and how many: the start of models and decoders says
        nothing about the pace."""
        self._last_line = 0.0
        self._bar: tqdm[NoReturn] | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=total,
                desc=description or None,
                unit=f" {unit}s",
                smoothing=0.05,
                dynamic_ncols=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int = 1) -> None:
        """Count units that are done."""
        now = time.monotonic()
        self._done += count
        if self._first is None:
            self._first = (now, self._done)
            self._last_line = now
            if self._bar is not None:
                self._bar.unpause()
        if self._bar is not None:
            self._bar.set_postfix_str(self.remark(), refresh=False)
            self._bar.update(count)
        elif now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            self.say(self._line(now))

    @property
    def done(self) -> int:
        """Units that are done."""
        return self._done

    def show(self, done: int, total: int) -> None:
        """Set how many units are done, and how many there are."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total
        if done != self._done:
            self.advance(done - self._done)

    def extend(self, count: int) -> None:
        """Add units to the total."""
        self._total = (self._total or 0) + count
        if self._bar is not None:
            self._bar.total = self._total

    def describe(self, text: str) -> None:
        """Replace the text before the counts."""
        self._description = text
        if self._bar is not None:
            self._bar.set_description_str(text, refresh=False)

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        tqdm.write(shown(text), file=sys.stderr)

    def remark(self) -> str:
        """Return what to print after the counts; for subclasses."""
        return ""

    def _line(self, now: float) -> str:
        started, before = self._first or (now, 0)
        rate = (self._done - before) / max(now - started, 1e-9)
        parts = [f"{self._done}/{self._total} {self._unit}s", f"{rate:.3g} {self._unit}s/s"]
        if self._total is not None and rate:
            parts.append(f"{duration((self._total - self._done) / rate)} left")
        if remark := self.remark():
            parts.append(remark)
        return f"{self._description and f'{self._description}: '}{', '.join(parts)}"


def duration(seconds: float) -> str:
    """Format seconds: "42 s", "3 min 20 s", "7 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
