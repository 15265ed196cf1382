"""What a user sees while probes are trained: one line that says how far, and how good so far."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from tqdm import tqdm

from stepcli.probe.config import RunConfig
from stepcli.probe.training.tracking import Tracker
from stepcli.probe.training.train import EpochReport
from stepcli.runtime.terminal import shown


class _PlainLines:
    """What a bar writes, without what moves the cursor, as lines of a log."""

    def write(self, text: str) -> None:
        """A line, unless it only clears one."""
        line = text.strip()
        if line:
            sys.stderr.write(f"{shown(line)}\n")

    def flush(self) -> None:
        """What was written is seen."""
        sys.stderr.flush()


def _for_whoever_watches() -> dict[str, Any]:
    """tqdm's settings: a bar on a terminal, a plain line every ten seconds elsewhere."""
    if sys.stderr.isatty():
        return {"file": sys.stderr, "mininterval": 0.1}
    line = "{desc}: {n_fmt} of {total_fmt} {unit}s, {remaining} left{postfix}"
    return {"file": _PlainLines(), "mininterval": 10.0, "bar_format": line}


class SweepProgress(AbstractContextManager["SweepProgress"]):
    """A bar over the epochs of all passes, runs done and the best of them; and the trackers."""

    def __init__(
        self, epochs: int, runs: int, trackers: Sequence[Tracker], *, unit: str = "epoch"
    ) -> None:
        """For so many epochs, all passes together, or other units of work, and runs."""
        self._runs = runs
        self._done = 0
        self._best: dict[str, Any] | None = None
        self._trackers = list(trackers)
        self._bar = tqdm(
            total=epochs,
            desc=f"0/{runs} runs",
            unit=unit,
            **_for_whoever_watches(),
        )

    def epoch(
        self, names: Sequence[str], configs: Sequence[RunConfig], report: EpochReport
    ) -> None:
        """An epoch of a pass is done; `names` are its runs'."""
        self._bar.set_postfix_str(self._postfix(f"loss {report.loss:.3f}"), refresh=False)
        self._bar.update()
        losses = report.losses.tolist()
        for tracker in self._trackers:
            for name, config, loss in zip(names, configs, losses, strict=True):
                if loss == loss:
                    tracker.epoch(name, config, report.epoch, loss)

    def run(self, record: dict[str, Any], place: str) -> None:
        """A run is written."""
        self._done += 1
        if self._best is None or record["top1"] > self._best["top1"]:
            self._best = record
        self._bar.set_description_str(f"{self._done}/{self._runs} runs", refresh=False)
        self._bar.set_postfix_str(self._postfix(), refresh=False)
        clean = record.get("leakage", {}).get("without_copies")
        without = f"(without copies {100 * clean['top1']:.1f} %)  " if clean else ""
        self.say(
            f"{record['method']:<16} seed {record['seed']}  top-1 "
            f"{100 * record['top1']:5.1f} %  {without}{place}"
        )
        for tracker in self._trackers:
            tracker.finished(record)

    def advance(self) -> None:
        """A unit of work is done of which nothing else is known."""
        self._bar.update()

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._bar.write(shown(line), file=sys.stdout)

    def again(self, epochs: int) -> None:
        """So many epochs more than was thought."""
        self._bar.total = (self._bar.total or 0) + epochs

    def _postfix(self, *parts: str) -> str:
        best = self._best
        if best is not None:
            parts = (*parts, f"best {best['method']} {100 * best['top1']:.1f} % on {best['split']}")
        return ", ".join(parts)

    def __exit__(self, *error: object) -> None:
        """End the line and the trackers."""
        self._bar.close()
        for tracker in self._trackers:
            tracker.close()
