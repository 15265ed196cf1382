"""Progress of training: epochs, runs, and the best run so far."""

import sys
from collections.abc import Sequence

from tqdm import tqdm

from stepcli.probe.config import RunConfig
from stepcli.probe.runs.metrics import MEAN_AP
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.sweeps.tracking import Tracker
from stepcli.probe.training.train import EpochReport
from stepcli.runtime.progress import Progress
from stepcli.runtime.terminal import shown


class SweepProgress(Progress):
    """Epochs of all passes, finished runs and the best of them; and the trackers.

    Args:
        units: epochs of all passes together, or other units of work.
        runs: runs in all.
        trackers: told of each epoch and run.
        unit: singular.
    """

    def __init__(
        self, units: int, runs: int, trackers: Sequence[Tracker], *, unit: str = "epoch"
    ) -> None:
        self._runs = runs
        self._finished = 0
        self._best: RunRecord | None = None
        self._loss = ""
        self._trackers = list(trackers)
        super().__init__(unit, units, description=f"0/{runs} runs")

    def epoch(
        self, names: Sequence[str], configs: Sequence[RunConfig], report: EpochReport
    ) -> None:
        """One more epoch of a pass is done; `names` are its runs'."""
        self._loss = f"loss {report.loss:.3f}"
        self.advance()
        losses = report.losses.tolist()
        for tracker in self._trackers:
            for name, config, loss in zip(names, configs, losses, strict=True):
                if loss == loss:
                    tracker.epoch(name, config, report.epoch, loss)

    def run(self, record: RunRecord, place: str) -> None:
        """One more run is written."""
        self._finished += 1
        self._loss = ""
        if self._best is None or record.headline > self._best.headline:
            self._best = record
        self.describe(f"{self._finished}/{self._runs} runs")
        clean = record.top1_without_copies
        group = "" if record.held_group is None else f"group {record.held_group}  "
        without = "" if clean is None else f"(without copies {100 * clean:.1f} %)  "
        tqdm.write(
            shown(
                f"{record.method:<16} seed {record.seed}  {group}{_metric(record)} "
                f"{100 * record.headline:5.1f} %  {without}{place}"
            ),
            file=sys.stdout,
        )
        for tracker in self._trackers:
            tracker.finished(record)

    def remark(self) -> str:
        """Return the latest loss and the best run so far."""
        best = self._best
        leader = f"best {best.method} {100 * best.headline:.1f} % on {best.split}" if best else ""
        return ", ".join(filter(None, [self._loss, leader]))

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        for tracker in self._trackers:
            tracker.close()


def _metric(record: RunRecord) -> str:
    return MEAN_AP if record.several_labels else "top-1"
