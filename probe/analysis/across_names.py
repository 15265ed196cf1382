"""Which runs share a row or a column of `results --across`, and what rows and columns are called.

A column is what was asked in one way: tokens, task with all its settings, split. Runs that differ
in any of these are never in one column. A row is a method; where one column has several runs of a
method and seed, its settings are part of the row.
"""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from pydantic import JsonValue

from stepcli.probe.config import without_paths
from stepcli.probe.runs.labels import store_names, without_seeds
from stepcli.probe.runs.record import RunRecord
from stepcli.runtime.errors import UsageError
from stepcli.runtime.settings import JsonObject

DRAWN = ("draw_seed", "held_group", "split", "slice_seed", "slice_share")
"""Settings of a task that differ between the seeds, splits and groups of one row."""
UNNAMED = ("", "csv", "folder")
"""Readers of lists and folders, which are no names of data sets."""
PLAIN = ("task", "backbone", "store", "split")
"""Said without their name in the name of a column."""


def dataset_of(run: RunRecord) -> str:
    """Name of a run's data set; of its store where that is a list of one's own."""
    own = Path(run.store).name or run.dataset or run.fingerprint[:8]
    return own if run.dataset in UNNAMED else run.dataset


def task_of(run: RunRecord) -> JsonObject:
    """Settings of a run's task, without what is drawn for each seed; of another version's as far
    as they were written."""
    try:
        task: JsonObject = run.settings.task.model_dump(mode="json")
    except UsageError:
        task = dict(run.task_settings)
    config = without_paths({"task": task})["task"]
    assert isinstance(config, dict)
    return {name: value for name, value in config.items() if name not in DRAWN}


def column_key(run: RunRecord, every: Sequence[RunRecord]) -> str:
    """Equal for runs that belong in one column; an imported run is where the run is that was tested
    on the same samples."""
    if run.imported is not None:
        like = [other for other in every if other.run == run.imported.like and not other.imported]
        if like:
            return column_key(like[0], every)
        return json.dumps([run.fingerprint, run.task, run.split])
    return json.dumps([run.fingerprint, run.dataset, run.split, task_of(run)], sort_keys=True)


def _settings(run: RunRecord) -> dict[str, JsonValue]:
    """What a row may differ in: a method's options and the training's settings, by dotted name."""
    config = without_seeds(run)
    config.pop("task", None)
    flat: dict[str, JsonValue] = {}
    for section, values in config.items():
        if isinstance(values, dict):
            flat |= {f"{section}.{key}": value for key, value in values.items()}
    return flat


def run_key(run: RunRecord) -> tuple[str, str]:
    """Tells a run from those of other folders: names hold a few digits of a hash only."""
    return run.run, run.fingerprint


def row_names(columns: Sequence[Sequence[RunRecord]]) -> dict[tuple[str, str], str]:
    """Key of a run -> name of its row.

    A method whose settings were chosen on each data set by itself is one row.
    """
    methods: dict[str, list[list[RunRecord]]] = {}
    for members in columns:
        own: dict[str, list[RunRecord]] = {}
        for run in members:
            name = f"{run.method} (imported)" if run.imported else run.method
            own.setdefault(name, []).append(run)
        for name, runs in own.items():
            methods.setdefault(name, []).append(runs)
    names: dict[tuple[str, str], str] = {}
    for method, of_columns in methods.items():
        varied: set[str] = set()
        for runs in of_columns:
            seen: dict[tuple[int, str | None], list[dict[str, JsonValue]]] = {}
            for run in runs:
                seen.setdefault((run.seed, run.part), []).append(_settings(run))
            for same in seen.values():
                keys = set(chain.from_iterable(same))
                varied |= {k for k in keys if any(s.get(k) != same[0].get(k) for s in same)}
        for run in chain.from_iterable(of_columns):
            own_settings = _settings(run)
            said = [f"{key.rpartition('.')[2]}={own_settings.get(key)}" for key in sorted(varied)]
            names[run_key(run)] = " ".join([method, *said])
    return names


def column_names(columns: Sequence[Sequence[RunRecord]]) -> list[str]:
    """The data set, with what tells a column from others of it: task, backbone, store, settings.
    Where there are several tasks, each column says its own.
    """
    firsts = [next((run for run in runs if not run.imported), runs[0]) for runs in columns]
    stores = store_names(firsts)
    flat = [
        {
            "task": run.task,
            "backbone": run.backbone,
            "split": run.split,
            "store": stores[run.fingerprint],
            **{name: value for name, value in task_of(run).items() if name != "name"},
        }
        for run in firsts
    ]
    names = [dataset_of(run) for run in firsts]
    for key in dict.fromkeys(chain.from_iterable(flat)):
        before = list(names)
        for i, name in enumerate(before):
            value = flat[i].get(key)
            rivals = [flat[j].get(key) for j, n in enumerate(before) if key == "task" or n == name]
            if value not in (None, "") and any(rival != value for rival in rivals):
                names[i] = f"{name} {value if key in PLAIN else f'{key}={value}'}"
    return names


def task_words(run: RunRecord, usual: JsonObject) -> str:
    """A task with the settings that are not the usual ones: "arrow (clip_frames=8)"."""
    said = ", ".join(
        f"{name}={value}"
        for name, value in task_of(run).items()
        if name not in ("name", "pairs", "split_file") and value != usual.get(name)
    )
    return f"{run.task} ({said})" if said else run.task
