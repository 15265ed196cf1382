"""One folder a run, written whole or not at all; every table is made anew from these.

<runs>/<run id>/run.json              config, metrics, versions, hardware, fingerprint, warnings
<runs>/<run id>/predictions.parquet   one row a test sample: clip, group, crop, direction, logits
<runs>/<run id>/probe.safetensors     weights of the trained probe
"""

import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from stepcli.cache.schema.layout import layout_of
from stepcli.cache.schema.padding import is_padded
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.schema.views import clip_of
from stepcli.probe.config import CODE_SCHEMA, RunConfig
from stepcli.probe.data.tasks import Task
from stepcli.probe.methods.registry import methods
from stepcli.probe.runs.leakage import is_leakage_record, is_share, leakage_record
from stepcli.probe.runs.metrics import base_to_novel, summary
from stepcli.probe.runs.predictions import FILE as PREDICTIONS
from stepcli.probe.runs.predictions import Predictions, encode_predictions
from stepcli.probe.runs.staging import staging_folder
from stepcli.probe.training.train import Trained
from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.files import (
    SEALED_LIMIT,
    disk_errors,
    fsync_folder,
    read_regular,
    write_synced,
)

LIBRARIES = ("stepcli", "torch", "numpy", "pyarrow", "safetensors")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a run's tokens came from."""

    store: str
    dataset: str
    fingerprint: str
    spec: StoreSpec
    """The store's: what a probe needs that is used without its store."""
    texts: str = ""
    """Digests of the text embeddings beside the tokens."""
    weights: tuple[str, ...] = ()
    """Where the backbone's weights were: folders, or repositories with their revision."""
    copied: bool = False
    """Whether some clips of the store are copies of others."""

    def identity(self, config: RunConfig) -> str:
        """What a run's result depends on beside its config: the tokens, and the texts if read."""
        reads = "text embeddings" in methods().get(config.method).needs
        found = self.fingerprint + self.texts if reads else self.fingerprint
        # Earlier versions reversed and shuffled padding with the frames: such runs are trained
        # again. All others keep their names.
        reordered = config.task.name == "arrow" or config.task.frame_order == "shuffled"
        if is_padded(self.spec.sampling) and reordered:
            found += " padding-last"
        # Earlier versions let a slice of train hold copies of clips that were trained on.
        if self.copied and config.task.slice_seed is not None:
            found += " copies-together"
        return found


def _frame_bytes(spec: StoreSpec) -> int:
    """Stored bytes of one frame's tokens, scales not counted."""
    return layout_of(spec).tokens.clip_bytes // spec.frames


def is_done(runs: Path, run: str) -> bool:
    """Whether a run's folder is there; it appears only once it is whole."""
    return (runs / run / "run.json").is_file()


def write_run(runs: Path, trained: Trained, task: Task, source: Source) -> dict[str, Any]:
    """Write one run's folder; where another process finished the same run first, keep that one.

    Returns:
        What run.json says.
    """
    run = trained.config.run_id(source.identity(trained.config))
    logits = trained.logits.numpy()
    said = _predictions(task, logits)
    record = {
        "run": run,
        "method": trained.config.method,
        "task": trained.config.task.name,
        "config": trained.config.model_dump(mode="json"),
        "seed": trained.config.seed,
        "split": trained.config.task.reported_split,
        **summary(logits, task.test.label, task.pairs),
        **_halves(logits, task),
        "params": trained.probe.parameters_each,
        "seconds": round(trained.seconds, 3),
        "seconds_an_epoch": round(trained.seconds / max(1, len(trained.losses)), 4),
        "multiply_adds": trained.multiply_adds,
        "bytes_a_clip": _frame_bytes(source.spec) * task.length,
        "fingerprint": source.fingerprint,
        "dataset": source.dataset,
        "backbone": source.spec.backbone,
        "weights": list(source.weights),
        "store": source.store,
        "spec": source.spec.model_dump(mode="json"),
        "classes": list(task.classes),
        "pairs": [[task.classes[a], task.classes[b]] for a, b in task.pairs],
        "train_clips": task.train_clips,
        "test_samples": len(task.test),
        "losses": [round(loss, 6) for loss in trained.losses],
        "warnings": list(task.warnings),
        "leakage": leakage_record(task.leakage, said, task.pairs),
        "code_schema": CODE_SCHEMA,
        "versions": {name: version(name) for name in LIBRARIES},
        "hardware": _hardware(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    contents = {
        PREDICTIONS: encode_predictions(said),
        "probe.safetensors": save(trained.probe.state_dict()),
    }
    write_folder(runs, record, contents)
    return record


def _halves(logits: np.ndarray, task: Task) -> dict[str, float]:
    """Base-to-novel's three numbers, where that was the protocol and both halves were tested."""
    labels = task.test.label
    if task.base_classes == len(task.classes) or labels.max() < task.base_classes:
        return {}
    return base_to_novel(logits, labels, task.base_classes)


def write_folder(runs: Path, record: dict[str, Any], contents: dict[str, bytes]) -> None:
    """Put a run's folder in place, whole; one that another process finished first is kept."""
    target = runs / str(record["run"])
    with disk_errors(target):
        with staging_folder(runs) as staging:
            for name, content in contents.items():
                write_synced(staging / name, content)
            text = json.dumps(record, indent=1, allow_nan=False)
            write_synced(staging / "run.json", text.encode())
            fsync_folder(staging)
            _rename(staging, target)
        fsync_folder(runs)


def _rename(staging: Path, target: Path) -> None:
    try:
        staging.rename(target)
    except OSError:
        # A folder cannot replace one that is not empty: another process finished this run first.
        if not (target / "run.json").is_file():
            raise


def _predictions(task: Task, logits: np.ndarray) -> Predictions:
    """What was tested, and what the probe said."""
    tested = task.test
    return Predictions(
        tuple(task.clips[i] for i in tested.clip),
        tuple(task.groups[i] for i in tested.clip),
        tested.start,
        tested.backward,
        tested.label,
        logits,
        np.array([clip_of(task.clips[i]) in task.leakage.copied for i in tested.clip], np.bool_),
    )


def _hardware() -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def read_runs(runs: Path, *, slices: bool = False) -> list[dict[str, Any]]:
    """Every finished run below a folder, by method, task and seed.

    Args:
        runs: The folder.
        slices: Whether to include runs that were tested on a held-out slice of train.

    Raises:
        UsageError: the folder is not there, holds no run, or a run.json cannot be read.
    """
    if not runs.is_dir():
        raise UsageError(f"no runs folder {runs}; train with stepcli probe, or give --runs")
    found = [read_run(path) for path in sorted(runs.glob("[!.]*/run.json"))]
    if not slices:
        found = [r for r in found if r["config"].get("task", {}).get("slice_seed") is None]
    if not found:
        raise UsageError(f"{runs} holds no finished run; train with stepcli probe, or give --runs")
    return sorted(found, key=lambda r: (r["task"], r["method"], r["seed"], r["run"]))


def read_run(path: Path) -> dict[str, Any]:
    """One finished run's JSON.

    Raises:
        UsageError: the file is not what a run writes.
    """
    try:
        record: dict[str, Any] = json.loads(read_regular(path, SEALED_LIMIT))
        reason = _wrong_field(record)
    except (ValueError, RecursionError, DamagedStore) as error:
        reason = str(error)
    if reason:
        raise UsageError(f"{path} is not a run's JSON ({reason}); delete its folder")
    if record["run"] != path.parent.name:
        raise UsageError(f"{path} says run {record['run']!r}; its folder must have the same name")
    return record


_NUMBER = (int, float)
_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("run", "method", "task", "split", "fingerprint"), str),
    **dict.fromkeys(("top1", "top5", "mean_class", "seconds"), _NUMBER),
    "forced_choice": (*_NUMBER, NoneType),
    **dict.fromkeys(("seed", "params"), int),
    **dict.fromkeys(("classes", "pairs"), list),
    "config": dict,
}
"""What every run says, and of what type: a run may come from anybody."""
_SHARES = ("top1", "top5", "mean_class", "forced_choice")
_PERHAPS: dict[str, Any] = {
    **dict.fromkeys(("dataset", "backbone", "store"), str),
    **dict.fromkeys(("losses", "warnings"), list),
    **dict.fromkeys(("train_clips", "test_samples"), int),
    "spec": dict,
}
"""What runs of other versions, or imported ones, do without."""


def _wrong_field(record: Any) -> str:
    """What is wrong with a run's record, "" where nothing is."""
    if not isinstance(record, dict):
        return f"expected an object, found {type(record).__name__}"
    for name, kind in (_FIELDS | _PERHAPS).items():
        if name not in record:
            if name in _PERHAPS:
                continue
            return f"{name} is missing"
        odd = name in _SHARES and record[name] is not None and not is_share(record[name])
        if odd or not isinstance(record[name], kind):
            return f"{name} is {record[name]!r:.60}"
    if not isinstance(record["config"].get("task", {}), dict):
        return f"config.task is {record['config']['task']!r:.60}"
    if "leakage" in record and not is_leakage_record(record["leakage"]):
        return f"leakage is {record['leakage']!r:.60}"
    classes = record["classes"]
    if not all(isinstance(name, str) for name in classes):
        return "classes are no list of names"
    for pair in record["pairs"]:
        two = isinstance(pair, list) and len(pair) == 2
        if not two or not all(label in classes for label in pair):
            return f"pair {pair!r:.60} is not of two of its classes"
    return ""
