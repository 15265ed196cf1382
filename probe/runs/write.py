"""One folder per run, written whole or not at all; every table is made anew from these.

<runs>/<run id>/run.json              config, metrics, versions, hardware, fingerprint, warnings
<runs>/<run id>/predictions.parquet   one row a test sample: clip, group, crop, direction, logits
<runs>/<run id>/probe.safetensors     weights of the trained probe
"""

import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from stepcli.cache.schema.padding import is_padded
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.schema.views import clip_of
from stepcli.probe.config import CODE_SCHEMA, RunConfig, TaskConfig
from stepcli.probe.data.tasks import Task
from stepcli.probe.methods.registry import methods
from stepcli.probe.runs.leakage import leakage_counts
from stepcli.probe.runs.metrics import (
    BaseToNovel,
    Headline,
    base_to_novel,
    mean_class_top_k,
    multi_label_map,
    multi_label_summary,
    summary,
)
from stepcli.probe.runs.predictions import FILE as PREDICTIONS
from stepcli.probe.runs.predictions import Predictions, encode_predictions
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.runs.record_parts import Hardware
from stepcli.probe.runs.staging import write_folder
from stepcli.probe.training.train import Trained
from stepcli.runtime.errors import StoreError

LIBRARIES = ("stepcli", "torch", "numpy", "pyarrow", "safetensors")
WRITERS = 4
"""Runs that are written at once: most of the time goes into waiting for the disk."""


@dataclass(frozen=True, slots=True)
class TokenSource:
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
    tokens_of: Callable[[Iterable[str]], str] | None = None
    """Fingerprint of the tokens of some clips; None where no store is open."""
    tables_of: Callable[[TaskConfig], str] | None = None
    """Digest of what a task reads from the store's tables; None where no store is open."""

    def identity(self, config: RunConfig) -> str:
        """What a run's result depends on beside its config: the tokens, the texts if read, and
        what the task reads from the store's tables."""
        found = self.earlier_identity(config)
        return found if self.tables_of is None else f"{found} tables {self.tables_of(config.task)}"

    def earlier_identity(self, config: RunConfig) -> str:
        """The same in versions that did not record the tables."""
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
    return part_layout(spec).tokens.clip_bytes // spec.frames


@cache
def _versions() -> dict[str, str]:
    """Of the libraries; each is read from disk, and a sweep writes hundreds of runs."""
    return {name: version(name) for name in LIBRARIES}


def write_run(
    runs: Path, name: str, trained: Trained, task: Task, source: TokenSource, tested_tokens: str
) -> RunRecord:
    """Write one run's folder; where another process finished the same run first, keep that one.

    Args:
        runs: Folder of the runs.
        name: Of the run's folder.
        trained: What was trained.
        task: On what.
        source: Where its tokens came from.
        tested_tokens: Fingerprint of the tokens that it was tested on; "" where none is known.

    Raises:
        StoreError: it cannot be written there, or another run has that name by now.
    """
    config = trained.config
    logits = trained.logits.numpy()
    said = _predictions(task, logits)
    record = RunRecord(
        run=name,
        identity=config.run_id(source.identity(config)),
        method=config.method,
        task=config.task.name,
        config=config.model_dump(mode="json"),
        seed=config.seed,
        split=config.task.reported_split,
        **_headline(said, task),
        **_halves(logits, task),
        mean_class_recall5=mean_class_top_k(logits, task.test.label, 5)
        if config.task.name == "anticipate"
        else None,
        mean_ap=None if said.relevant is None else multi_label_map(logits, said.relevant),
        params=trained.probe.parameters_each,
        seconds=round(trained.seconds, 3),
        seconds_an_epoch=round(trained.seconds / max(1, len(trained.losses)), 4),
        multiply_adds=trained.multiply_adds,
        bytes_a_clip=_frame_bytes(source.spec) * task.length,
        fingerprint=source.fingerprint,
        tables="" if source.tables_of is None else source.tables_of(config.task),
        tested_tokens=tested_tokens,
        dataset=source.dataset,
        backbone=source.spec.backbone,
        weights=list(source.weights),
        store=source.store,
        spec=source.spec.model_dump(mode="json"),
        classes=list(task.classes),
        pairs=[[task.classes[a], task.classes[b]] for a, b in task.pairs],
        train_clips=task.train_clips,
        test_samples=len(task.test),
        losses=[round(loss, 6) for loss in trained.losses],
        warnings=list(task.warnings),
        leakage=leakage_counts(task.leakage, said, task.pairs),
        code_schema=CODE_SCHEMA,
        versions=_versions(),
        hardware=_hardware(trained.device),
        shuffling=trained.shuffling,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    contents = {
        PREDICTIONS: encode_predictions(said),
        "probe.safetensors": save(trained.probe.state_dict()),
    }
    write_folder(runs, record, contents)
    return record


def _headline(said: Predictions, task: Task) -> Headline:
    if said.relevant is not None:
        return multi_label_summary(said.logits, said.relevant)
    return summary(said.logits, said.labels, task.pairs)


def _halves(logits: np.ndarray, task: Task) -> BaseToNovel:
    """Base-to-novel's three numbers, where that was the protocol and both halves were tested."""
    labels = task.test.label
    if task.base_classes == len(task.classes) or labels.max() < task.base_classes:
        return {}
    return base_to_novel(logits, labels, task.base_classes)


def _predictions(task: Task, logits: np.ndarray) -> Predictions:
    """What was tested, and what the probe said."""
    tested = task.test
    relevant = task.relevant(tested)
    return Predictions(
        tuple(task.clips[i] for i in tested.clip),
        tuple(task.groups[i] for i in tested.clip),
        tested.start,
        tested.backward,
        tested.label if relevant is None else np.full(len(tested), -1, np.int64),
        logits,
        np.array([clip_of(task.clips[i]) in task.leakage.copied for i in tested.clip], np.bool_),
        relevant,
    )


def _hardware(device: torch.device) -> Hardware:
    """Of this machine; the GPU is the one that was trained on, and none after training on a CPU."""
    return Hardware(
        machine=platform.machine(),
        system=platform.system(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    )


def write_all(
    runs: Path,
    every: Sequence[Trained],
    name_of: Callable[[RunConfig], str],
    task_of: Callable[[RunConfig], Task],
    source: TokenSource,
    written: Callable[[RunRecord], None],
) -> None:
    """Write the runs of a pass side by side.

    Args:
        runs: Folder of the runs.
        every: What was trained.
        name_of: Name of each run's folder.
        task_of: On what each was.
        source: Where its tokens came from.
        written: Called with each run's record, in the order of `every`.

    Raises:
        StoreError: not all could be written there; says where the others are.
    """

    # Once for each task, not for each of its hundreds of runs.
    tasks = {id(task): task for task in (task_of(trained.config) for trained in every)}
    tested = {
        key: "" if source.tokens_of is None else source.tokens_of(task.shown_ids)
        for key, task in tasks.items()
    }

    def write_to(folder: Path, trained: Trained) -> RunRecord:
        task = task_of(trained.config)
        return write_run(folder, name_of(trained.config), trained, task, source, tested[id(task)])

    def write(trained: Trained) -> RunRecord | StoreError:
        try:
            return write_to(runs, trained)
        except StoreError as error:
            return error

    refused: list[Trained] = []
    first: StoreError | None = None
    pool = ThreadPoolExecutor(WRITERS)
    try:
        for trained, outcome in zip(every, pool.map(write, every), strict=True):
            if isinstance(outcome, StoreError):
                refused.append(trained)
                first = first or outcome
            else:
                written(outcome)
    finally:
        # Whatever came: runs that are being written are whole, the others have not begun.
        pool.shutdown(cancel_futures=True)
    if first is not None:
        raise StoreError(f"{first}; {_elsewhere(runs, refused, write_to)}") from first


def _elsewhere(
    runs: Path, refused: Sequence[Trained], write_to: Callable[[Path, Trained], RunRecord]
) -> str:
    """Write runs to a folder for temporary files; says what came of it."""
    kept = 0
    try:
        folder = Path(tempfile.mkdtemp(prefix="stepcli-runs-"))
        for trained in refused:
            write_to(folder, trained)
            kept += 1
    except (OSError, StoreError) as error:
        lost = f"{len(refused) - kept} trained runs are lost ({error})"
        return f"{lost}, {kept} are in {folder}" if kept else lost
    return f"before that, move the {kept} runs that were trained from {folder} to {runs}"
