"""Progress of a long run: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import NoReturn, Protocol

from tqdm import tqdm

from stepcli.runtime.terminal import shown

LINE_SECONDS = 15.0


class ProgressListener(Protocol):
    """Whoever is told of each clip."""

    def clip_done(self) -> None:
        """One clip more is stored."""

    def clip_quarantined(self) -> None:
        """One clip more has been put aside."""


class Progress:
    """Counts clips as they are stored; use it as a context manager.

    Args:
        total: clips of this run.
        already: clips that earlier runs had done, mentioned at the start.
    """

    def __init__(self, total: int, already: int) -> None:
        self._total = total
        self._count = 0
        self._quarantined = 0
        self._first: float | None = None
        """When the first clip was done."""
        self._last_line = 0.0
        self._bar: tqdm[NoReturn] | None = None
        self.remark = ""
        """What else to show beside the counts: of a cluster, its workers."""
        if already:
            self.say(f"{already} clips are done already, {total} to go")
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, unit=" clips", smoothing=0.05, dynamic_ncols=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def clip_done(self) -> None:
        """One clip more is stored."""
        self._count += 1
        self._show()

    def clip_quarantined(self) -> None:
        """One clip more has been put aside."""
        self._count += 1
        self._quarantined += 1
        self._show()

    def say(self, text: str) -> None:
        """A line of its own, without breaking the bar."""
        tqdm.write(shown(text), file=sys.stderr)

    def _show(self) -> None:
        now = time.monotonic()
        if self._first is None:
            # The start of models and decoders says nothing about the pace.
            self._first = self._last_line = now
            if self._bar is not None:
                self._bar.unpause()
        if self._bar is not None:
            aside = f"{self._quarantined} quarantined" if self._quarantined else ""
            notes = ", ".join(filter(None, [aside, self.remark]))
            self._bar.set_postfix_str(notes, refresh=False)
            self._bar.update()
            return
        if now - self._last_line < LINE_SECONDS:
            return
        self._last_line = now
        rate = (self._count - 1) / (now - self._first)
        left = (self._total - self._count) / rate
        self.say(
            f"{self._count}/{self._total} clips, {rate:.3g} clips/s, {duration(left)} left, "
            f"{self._quarantined} quarantined{self.remark and f'; {self.remark}'}"
        )


def duration(seconds: float) -> str:
    """Seconds as people say it: "42 s", "3 min 20 s", "7 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
