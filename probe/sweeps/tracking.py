"""Experiment trackers behind one small interface; each is imported only when asked for.

What they show is a copy: tables are always made from the runs' own folders.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stepcli.probe.config import RunConfig
from stepcli.probe.config.trackers import require_trackers
from stepcli.probe.runs.metrics import METRICS
from stepcli.probe.runs.record import RunRecord
from stepcli.runtime.extras import load_extra
from stepcli.runtime.settings import JsonObject

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Tracker(Protocol):
    """Takes what happens to each run."""

    def epoch(self, run: str, config: RunConfig, epoch: int, loss: float) -> None:
        """A run's mean training loss in an epoch, counted from 1."""

    def finished(self, record: RunRecord) -> None:
        """A run is tested."""

    def close(self) -> None:
        """Write what is left."""


def open_trackers(names: Sequence[str], runs: Path) -> list[Tracker]:
    """Trackers by name, each writing below `<runs>/.tracking/`.

    Raises:
        UnknownName: there is no such tracker.
        UsageError: its package is not installed or does not load, or it was removed.
    """
    require_trackers(",".join(names))
    trackers = []
    for name in names:
        folder = runs / ".tracking" / name
        folder.mkdir(parents=True, exist_ok=True)
        trackers.append(_KINDS[name](folder))
    return trackers


def final_metrics(record: RunRecord) -> dict[str, float]:
    """A finished run's numbers, fractions of 1, those that it has."""
    found = {name: getattr(record, name) for name in METRICS}
    return {name: value for name, value in found.items() if value is not None}


def flat_settings(config: JsonObject) -> JsonObject:
    """A run's settings by dotted name."""
    flat: JsonObject = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": inner for key, inner in flat_settings(value).items()}
        else:
            flat[name] = value
    return flat


class TensorBoard:
    """Event files, a folder per run: `tensorboard --logdir <runs>/.tracking/tensorboard`."""

    def __init__(self, folder: Path) -> None:
        module = "torch.utils.tensorboard"
        self._open = load_extra(
            module, "tracking", "--track tensorboard", "tensorboard"
        ).SummaryWriter
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def epoch(self, run: str, config: RunConfig, epoch: int, loss: float) -> None:
        """Write a point of the run's loss."""
        self._writer(run).add_scalar("train/loss", loss, epoch)

    def finished(self, record: RunRecord) -> None:
        """Write the run's numbers and close its file."""
        writer = self._writer(record.run)
        for name, value in final_metrics(record).items():
            writer.add_scalar(f"{record.split}/{name}", value, len(record.losses))
        writer.add_text("settings", str(flat_settings(record.config)))
        writer.close()
        del self._writers[record.run]

    def close(self) -> None:
        """Close the files of runs that were not finished."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, run: str) -> "SummaryWriter":
        if run not in self._writers:
            self._writers[run] = self._open(str(self._folder / run))
        return self._writers[run]


class WandB:
    """Weights & Biases, offline: `wandb sync <runs>/.tracking/wandb/wandb/offline-run-*`."""

    def __init__(self, folder: Path) -> None:
        self._wandb = load_extra("wandb", "tracking", "--track wandb")
        self._folder = folder
        self._losses: dict[str, list[tuple[int, float]]] = {}

    def epoch(self, run: str, config: RunConfig, epoch: int, loss: float) -> None:
        """Keep a point until the run is finished: wandb takes one run at a time."""
        self._losses.setdefault(run, []).append((epoch, loss))

    def finished(self, record: RunRecord) -> None:
        """Write the run with its losses."""
        run = self._wandb.init(
            project="stepcli",
            name=record.run,
            group=record.method,
            config=flat_settings(record.config),
            dir=str(self._folder),
            mode="offline",
            reinit="finish_previous",
        )
        for epoch, loss in self._losses.pop(record.run, []):
            run.log({"train/loss": loss}, step=epoch)
        run.summary.update(
            {f"{record.split}/{name}": v for name, v in final_metrics(record).items()}
        )
        run.finish()

    def close(self) -> None:
        """Nothing is left to write: every run was written when it was finished."""


_KINDS: dict[str, Callable[[Path], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
}
