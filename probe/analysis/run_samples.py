"""The samples that a finished run was tested on, in its store as it is now.

A store grows and its labels change after a run was trained. What is asked of the run's probe later
must be about the samples and classes of the run, not about those that the store has now.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from stepcli.cache.storage.places import place_of
from stepcli.cache.store.store import Store, open_store
from stepcli.probe.data.splits import base_classes
from stepcli.probe.data.tasks import Samples, Task
from stepcli.probe.runs.predictions import Predictions
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.errors import StoreError, UsageError
from stepcli.runtime.words import counted, listed


def store_of_run(record: RunRecord, given: Path | None) -> Path:
    """Where the tokens of a run are: the given store if it holds them, else where they were.

    Args:
        record: Of the run.
        given: A store that the user has named, e.g. since it has moved. Where runs are of several
            stores, it is the store of some of them only.

    Returns:
        A place to open; that it holds the run's tokens is not certain.

    Raises:
        UsageError: no store is given and the run does not say where its own was.
        StoreError: the given store cannot be opened.
    """
    if given is None:
        return Path(record.store_place)
    if open_store(given).fingerprint == record.fingerprint or not record.store:
        return given
    recorded = place_of(record.store).local  # a run by itself never connects to object storage
    try:
        fits = recorded is not None and open_store(recorded).fingerprint == record.fingerprint
    except StoreError:
        return given
    return Path(record.store) if fits else given


def task_of_run(task: Task, record: RunRecord, said: Predictions) -> Task:
    """A task with the test samples and the classes of a run, in the run's order.

    Args:
        task: The run's task on the store as it is now.
        record: Of the run.
        said: The run's predictions.

    Raises:
        UsageError: samples of the run are not among the task's any more.
    """
    now = [
        (task.clips[clip], int(start), bool(backward))
        for clip, start, backward in zip(
            task.test.clip, task.test.start, task.test.backward, strict=True
        )
    ]
    classes = tuple(record.classes)
    if now == said.samples and classes == task.classes:
        return task
    place = {sample: row for row, sample in enumerate(now)}
    gone = [clip for clip, *rest in said.samples if (clip, *rest) not in place]
    if gone:
        clips = dict.fromkeys(gone)
        raise UsageError(
            f"run {record.run} was tested on {counted(len(clips), 'clip')} that the store's "
            f"{record.split!r} split does not hold any more: {listed(clips)}"
        )
    rows = np.array([place[sample] for sample in said.samples])
    views = np.concatenate([np.flatnonzero(task.shown_of == row) for row in rows])
    renumbered = np.full(len(now), -1)
    renumbered[rows] = np.arange(len(rows))
    index = {name: number for number, name in enumerate(classes)}
    new = np.array([index.get(name, -1) for name in task.classes])
    shown, shown_of = task.shown[views], renumbered[task.shown_of[views]]
    mirror = np.arange(len(classes))
    for old, other in enumerate(task.mirror):
        if new[old] >= 0 and new[other] >= 0:
            mirror[new[old]] = new[other]
    # A sample's own class is the run's, which a later table may call otherwise; a mirrored view's
    # is that of the run's class.
    was = task.test.label[task.shown_of[views]]
    own = said.labels[shown_of]
    labels = np.where(shown.label == was, own, mirror[own])
    return replace(
        task,
        classes=classes,
        base_classes=base_classes(classes, record.settings.task.protocol),
        pairs=tuple((index[a], index[b]) for a, b in record.pairs),
        labels=new[task.labels],
        backward_labels=new[task.backward_labels],
        test=_labelled(task.test[rows], said.labels),
        shown=_labelled(shown, labels),
        shown_of=shown_of,
        mirror=mirror,
    )


def task_on_its_tokens(session: Session, record: RunRecord, said: Predictions) -> Task:
    """A run's task with its own test samples, on a store that holds the tokens of these.

    Args:
        session: On the store.
        record: Of the run.
        said: The run's predictions.

    Raises:
        UsageError: the store holds other tokens, or not all clips in the split of the run.
    """
    store = session.store
    if store.fingerprint == record.fingerprint:
        return task_of_run(session.task(record.settings.task), record, said)
    if record.tested_tokens:
        try:
            task = task_of_run(session.task(record.settings.task), record, said)
        except UsageError as error:
            raise _other_tokens(store, record) from error
        spec = store.manifest.spec_digest
        if store.snapshot.fingerprint(spec, task.shown_ids) == record.tested_tokens:
            return task
    raise _other_tokens(store, record)


def _other_tokens(store: Store, record: RunRecord) -> UsageError:
    return UsageError(
        f"{store.path} holds other tokens (fingerprint {store.fingerprint[:8]}) than run "
        f"{record.run} was trained on ({record.fingerprint[:8]}); give the right --store, or "
        "choose runs with --method"
    )


def _labelled(samples: Samples, labels: np.ndarray) -> Samples:
    return replace(samples, label=labels.astype(np.int64))
