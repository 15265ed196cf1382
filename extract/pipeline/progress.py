"""Progress of an extraction."""

from typing import Protocol

from stepcli.extract.pipeline.space import Amount
from stepcli.runtime.progress import Progress
from stepcli.runtime.words import are, counted


class ProgressListener(Protocol):
    """Receives per-clip progress events."""

    def clip_done(self) -> None:
        """One more clip is stored."""

    def clip_quarantined(self) -> None:
        """One more clip is quarantined."""


class ExtractionProgress(Progress):
    """Counts clips as they are stored or quarantined; use it as a context manager.

    Args:
        total: clips of this run.
        already: clips that earlier runs have stored, mentioned at the start.
        left: those of this run in words, where they are windows or their number is an estimate.
    """

    def __init__(self, total: int, already: int, left: Amount | None = None) -> None:
        self.total = total
        self._quarantined = 0
        self.workers = ""
        """State of a cluster's workers, printed after the counts."""
        left = left or Amount(total)
        if already:
            done = f"{counted(already, left.noun)} {are(already)} done already"
            self.say(f"{done}, {left} to go")
        super().__init__(left.noun, total)

    def clip_done(self) -> None:
        """One more clip is stored."""
        self.advance()

    def clip_quarantined(self) -> None:
        """One more clip is quarantined."""
        self._quarantined += 1
        self.advance()

    def settle(self, done: int, quarantined: int) -> None:
        """Set how many clips are stored and quarantined, as a cluster's workers report."""
        self._quarantined = quarantined
        self.show(done + quarantined, self.total)

    def remark(self) -> str:
        """Return quarantined clips and the state of the workers."""
        quarantined = f"{self._quarantined} quarantined" if self._quarantined else ""
        return "; ".join(filter(None, [quarantined, self.workers]))
