"""Experiment trackers behind one small interface; each is imported only when asked for.

What they show is a copy: tables are always made from the runs' own folders.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stepcli.probe.config import RunConfig
from stepcli.probe.runs.metrics import METRICS
from stepcli.probe.runs.record import JsonObject, RunRecord
from stepcli.runtime.errors import UnknownName, UsageError

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
        UsageError: its package is not installed.
    """
    trackers = []
    for name in names:
        if name not in TRACKERS:
            raise UnknownName("tracker", name, TRACKERS)
        folder = runs / ".tracking" / name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            trackers.append(TRACKERS[name](folder))
        except ImportError as error:
            raise UsageError(
                f"--track {name} needs a package that is not installed ({error}); "
                "pip install 'stepcli[tracking]'"
            ) from None
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
    """Event files, a folder a run: `tensorboard --logdir <runs>/.tracking/tensorboard`."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._open = SummaryWriter
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


class _Later:
    """Keeps a run's losses until it is finished, for trackers that take one run at a time."""

    def __init__(self) -> None:
        self._losses: dict[str, list[tuple[int, float]]] = {}

    def epoch(self, run: str, config: RunConfig, epoch: int, loss: float) -> None:
        """Keep a point."""
        self._losses.setdefault(run, []).append((epoch, loss))

    def losses(self, run: str) -> list[tuple[int, float]]:
        """The run's points, given up."""
        return self._losses.pop(run, [])

    def close(self) -> None:
        """Nothing is left to write: every run was written when it was finished."""


class WandB(_Later):
    """Weights & Biases, offline: `wandb sync <runs>/.tracking/wandb/wandb/offline-run-*`."""

    def __init__(self, folder: Path) -> None:
        import wandb

        super().__init__()
        self._wandb = wandb
        self._folder = folder

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
        for epoch, loss in self.losses(record.run):
            run.log({"train/loss": loss}, step=epoch)
        run.summary.update(
            {f"{record.split}/{name}": v for name, v in final_metrics(record).items()}
        )
        run.finish()


class MLflow(_Later):
    """MLflow's file store: `mlflow ui --backend-store-uri <runs>/.tracking/mlflow`."""

    def __init__(self, folder: Path) -> None:
        # Files need no database; newer versions of MLflow keep them only for who asks.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        super().__init__()
        self._client = MlflowClient(tracking_uri=folder.resolve().as_uri())
        found = self._client.get_experiment_by_name("stepcli")
        self._experiment = (
            found.experiment_id if found else self._client.create_experiment("stepcli")
        )

    def finished(self, record: RunRecord) -> None:
        """Write the run with its losses."""
        run = self._client.create_run(self._experiment, run_name=record.run).info.run_id
        for name, value in flat_settings(record.config).items():
            self._client.log_param(run, name, value)
        for epoch, loss in self.losses(record.run):
            self._client.log_metric(run, "train/loss", loss, step=epoch)
        for name, value in final_metrics(record).items():
            self._client.log_metric(run, f"{record.split}/{name}", value)
        self._client.set_terminated(run)


TRACKERS: dict[str, Callable[[Path], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}
