"""Trained probes on corrupted views of their test clips: how far does each fall?

The probes were trained on whatever they were trained on, clean views as a rule; nothing is trained
here. Clean and corrupted are both the centre view alone, on the same samples, so that a difference
is the corruption's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepcli.cache.schema.views import CORRUPTIONS, clip_of, corruption_of, split_view, view_id
from stepcli.probe.analysis.load_run import load_probe
from stepcli.probe.analysis.run_samples import store_of_run, task_on_its_tokens
from stepcli.probe.data.features import Features, task_layout
from stepcli.probe.data.placement import free_bytes, place_features
from stepcli.probe.data.tasks import Task
from stepcli.probe.nn.bank import Probe
from stepcli.probe.runs.configurations import Configuration
from stepcli.probe.runs.metrics import credit
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.runs.stats import PairedDifference, paired_difference
from stepcli.probe.sweeps.session import Session
from stepcli.probe.training.process import tune_process
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted, listed

CLEAN = "clean"
BATCH = 256


@dataclass(frozen=True)
class CorruptionScores:
    """One configuration on clean and corrupted views of the same samples."""

    label: str
    right: Mapping[str, NDArray[np.float64]]
    """View -> [seeds, n]: 1 where a seed was right; CLEAN first."""
    groups: tuple[str, ...]

    def score(self, view: str) -> float:
        """Top-1, mean over seeds."""
        return float(self.right[view].mean())

    def drop(self, view: str) -> float | None:
        """(clean - corrupted) / clean; None where nothing was right."""
        clean = self.score(CLEAN)
        return None if clean == 0 else (clean - self.score(view)) / clean

    def difference(self, view: str) -> PairedDifference:
        """Corrupted minus clean, in shares of the samples, with its interval."""
        return paired_difference(self.right[view], self.right[CLEAN], self.groups)

    @property
    def views(self) -> tuple[str, ...]:
        """The corrupted ones, by kind and severity."""
        return tuple(view for view in self.right if view != CLEAN)

    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Kind -> its views."""
        found: dict[str, list[str]] = {}
        for view in self.views:
            kind = corruption_of(view)
            assert kind is not None
            found.setdefault(kind[0], []).append(view)
        return {kind: tuple(views) for kind, views in found.items()}

    def mean_drop(self, views: Sequence[str]) -> float | None:
        """Mean of the relative drops of some views."""
        drops = [self.drop(view) for view in views]
        known = [drop for drop in drops if drop is not None]
        return fmean(known) if known and len(known) == len(drops) else None


def corruption_scores(
    found: Sequence[Configuration], store: Path | None, device: str
) -> tuple[list[CorruptionScores], dict[str, str]]:
    """Ask every configuration's probes about the corrupted views that its store holds.

    Args:
        found: The configurations.
        store: A store in place of the runs' own.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        The scores, and run -> why it could not be asked.
    """
    tune_process()
    scores: list[CorruptionScores] = []
    failed: dict[str, str] = {}
    sessions: dict[Path, Session] = {}
    for each in found:
        try:
            scores.append(_scores(each, store, device, sessions))
        except UsageError as error:
            failed |= {record.run: str(error) for record in each.records}
    return scores, failed


def _scores(
    found: Configuration, store: Path | None, device: str, sessions: dict[Path, Session]
) -> CorruptionScores:
    right: dict[str, list[NDArray[np.float64]]] = {}
    groups: tuple[str, ...] = ()
    first: list[tuple[str, int, bool]] | None = None
    for record in found.records:
        place = store_of_run(record, store)
        if place not in sessions:
            sessions[place] = Session(place, found.runs, device)
        said = read_predictions(found.runs / record.run)
        if found.leaves_a_group_out or (first is not None and said.samples != first):
            raise UsageError(
                f"run {record.run}: its seeds are tested on different samples (groups left out, or "
                "several splits); corrupted views take runs of one split"
            )
        first, groups = said.samples, said.groups
        session = sessions[place]
        task = task_on_its_tokens(session, record, said)
        for view, rights in _one(session, task, record, found.runs / record.run).items():
            right.setdefault(view, []).append(rights)
    return CorruptionScores(
        found.label, {view: np.stack(rows) for view, rows in right.items()}, groups
    )


def _one(
    session: Session, task: Task, record: RunRecord, folder: Path
) -> dict[str, NDArray[np.float64]]:
    tasks = corrupted_tasks(task, session.store.ids)
    clips = tuple(
        dict.fromkeys(one.clips[clip] for one in tasks.values() for clip in one.test.clip)
    )
    free = {kind.type: free_bytes(kind) for kind in (torch.device("cpu"), session.device)}
    features, _ = place_features(session.store, clips, session.device, free)
    layout = task_layout(session.store, task)
    probe = load_probe(folder, record, layout).to(session.device)
    return {
        view: credit(_logits(probe, features, one), one.test.label) for view, one in tasks.items()
    }


@torch.no_grad()
def _logits(probe: Probe, features: Features, task: Task) -> NDArray[np.float32]:
    parts: list[Tensor] = [
        probe(batch).float().cpu() for batch, _ in features.batches(task, task.shown, BATCH)
    ]
    found: NDArray[np.float32] = task.combine(torch.cat(parts, dim=1))[0].numpy()
    return found


def corrupted_tasks(task: Task, stored: Sequence[str]) -> dict[str, Task]:
    """View -> the task with that view of each test clip, the centre as CLEAN first.

    Args:
        task: Of one label per clip, on clips as they are.
        stored: Ids that the store holds.

    Raises:
        UsageError: the task arranges frames or shows reversed views; or the store has no corrupted
            view of all test clips, or not their centre.
    """
    if task.order is not None or task.turned is not None:
        raise UsageError("the task arranges frames, or shows reversed views: none are corrupted")
    held = set(stored)
    tested = list(dict.fromkeys(clip_of(task.clips[clip]) for clip in task.test.clip))
    seen: dict[str, set[str]] = {}
    for stored_id in stored:
        clip, view = split_view(stored_id)
        if corruption_of(view):
            seen.setdefault(view, set()).add(clip)
    wanted = set(tested)
    ordered = [f"{kind}{n}" for kind in CORRUPTIONS for n in range(1, 6)]
    views = [view for view in ordered if wanted <= seen.get(view, set())]
    if not views:
        some = [view for view in ordered if view in seen]
        why = f"not of all {counted(len(tested), 'test clip')} ({listed(some)})" if some else "none"
        raise UsageError(
            f"corrupted views in the store: {why}; extract with --views corrupted, or some of "
            "them: --views center,noise3,blur3"
        )
    centre = [clip for clip in tested if view_id(clip, "center") not in held]
    if centre:
        raise UsageError(
            f"{counted(len(centre), 'test clip')} without the view center ({listed(centre)}), "
            "which corrupted views are compared with; extract with --views corrupted"
        )
    return {
        CLEAN: _shown_as(task, "center"),
        **{view: _shown_as(task, view) for view in views},
    }


def _shown_as(task: Task, view: str) -> Task:
    """The task with one view of each test sample; its clips are those views alone."""
    rows, place = np.unique(task.test.clip, return_inverse=True)
    test = replace(task.test, clip=place.astype(np.int64))
    real = None if task.real_frames is None else task.real_frames[rows]
    return replace(
        task,
        clips=tuple(view_id(clip_of(task.clips[row]), view) for row in rows),
        groups=tuple(task.groups[row] for row in rows),
        labels=task.labels[rows],
        backward_labels=task.backward_labels[rows],
        real_frames=real,
        train_views=np.zeros(0, np.int64),
        test=test,
        shown=test,
        shown_of=np.arange(len(test)),
        fold_of=None,
    )
