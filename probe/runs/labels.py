"""Readable names of configurations: a method with the settings that tell it from the others."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from stepcli.probe.config import TaskConfig, without_paths
from stepcli.probe.runs.record import RunRecord
from stepcli.runtime.settings import JsonObject

SHORT = 8
"""Digits of a digest, where only that tells two files or stores apart."""


def without_seeds(run: RunRecord) -> JsonObject:
    """A run's config without its seed, and without what is drawn anew for each seed."""
    config = without_paths(run.config)
    config.pop("seed", None)
    if isinstance(task := config.get("task"), dict):
        drawn = {"draw_seed", "fold", "held_group", "split"}
        config["task"] = {name: v for name, v in task.items() if name not in drawn} | {
            "slice_seed": task.get("slice_seed") is not None
        }
    return config


def labels(runs: Sequence[RunRecord]) -> list[str]:
    """A method's name, with whatever settings tell its rows apart; a usual task is not named."""
    usual = {f"task.{name}": v for name, v in TaskConfig().model_dump(mode="json").items()}
    rows: dict[tuple[str, str], list[JsonObject]] = {}
    stores = store_names(runs)
    splits = _split_names(runs)
    flat = [_flat(run, stores, splits) for run in runs]
    for run, settings in zip(runs, flat, strict=True):
        rows.setdefault((run.method, run.task), []).append(settings)
    varied = {place: _varied(group) for place, group in rows.items()}
    names = []
    for run, settings in zip(runs, flat, strict=True):
        differing = [
            f"{key.rpartition('.')[2]}={value}"
            for key, value in settings.items()
            if key in varied[run.method, run.task] and (key not in usual or value != usual[key])
        ]
        names.append(" ".join([run.method, *differing]))
    return _with_tables(names, runs)


def _with_tables(names: Sequence[str], runs: Sequence[RunRecord]) -> list[str]:
    """Names that tell apart what differs in the labels, splits or groups of the clips alone."""
    tables: dict[tuple[str, str], set[str]] = {}
    for name, run in zip(names, runs, strict=True):
        tables.setdefault((name, run.task), set()).add(run.tables)
    return [
        f"{name} {tables_word(run)}" if len(tables[name, run.task]) > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]


def tables_word(run: RunRecord) -> str:
    """What a run was trained on of a store's tables, as `--set` takes it: "labels=65a073bc"."""
    return f"labels={run.tables[:SHORT] or 'unrecorded'}"


def store_names(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Fingerprint of tokens -> name of the store's folder.

    Digits of the fingerprint are added only where stores of one name hold different tokens, and
    are used alone where a run does not say where its store was.
    """
    return _names((run.fingerprint, run.store) for run in runs)


def _split_names(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Digest of a split file -> its name."""
    tasks = [run.task_settings for run in runs]
    return _names(
        (str(task["split_digest"]), str(task.get("split_file") or ""))
        for task in tasks
        if task.get("split_digest")
    )


def _names(places: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Digest -> last part of the place, unambiguous among all."""
    found: dict[str, str] = {}
    for digest, place in places:
        if not found.get(digest):
            found[digest] = PurePosixPath(place.rstrip("/")).name
    several = Counter(found.values())
    return {
        digest: name if name and several[name] == 1 else f"{name} {digest[:SHORT]}".strip()
        for digest, name in found.items()
    }


def _varied(group: Sequence[JsonObject]) -> set[str]:
    """Settings in which the runs of a group are not all alike."""
    names = {name for settings in group for name in settings}
    first = group[0]
    return {name for name in names if any(s.get(name) != first.get(name) for s in group)}


def _flat(run: RunRecord, stores: Mapping[str, str], splits: Mapping[str, str]) -> JsonObject:
    """A run's settings by dotted name."""
    flat: JsonObject = {"store": stores[run.fingerprint]}
    for section, values in without_seeds(run).items():
        if isinstance(values, dict):
            flat |= {f"{section}.{key}": value for key, value in values.items()}
        else:
            flat[section] = values
    # The column for the split tells those on slices of train.
    flat.pop("task.slice_seed", None)
    digest = flat.pop("task.split_digest", None)
    if digest:
        flat["task.split_file"] = splits[str(digest)]
    if code := flat.get("options.sha256"):
        flat["options.sha256"] = str(code)[:SHORT]
    return flat
