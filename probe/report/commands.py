"""Commands that train a study's runs again, complete: they run when pasted into a shell."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import yaml
from pydantic import BaseModel

from stepcli.probe.config import DataConfig, OptimConfig, RunConfig, TaskConfig
from stepcli.probe.methods.registry import IDENTITY, methods
from stepcli.probe.report.report_data import ReportEntry, Study
from stepcli.probe.runs.configurations import by_seed
from stepcli.probe.runs.record import RunRecord
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.settings import JsonObject, keys_of

FOUND_BY_ITSELF = ("slice_seed", "draw_seed", "split_digest", "held_group")
"""Fields of a task that follow from the others, from the seed or from a file."""


def commands(study: Study) -> list[str]:
    """Commands that train such runs again, one per configuration; defaults are left out.

    What has no option of `stepcli probe` becomes the file of a sweep, written by the shell.
    """
    return [_command(entry, number) for number, entry in enumerate(study.entries, 1)]


def settings_of(record: RunRecord) -> RunConfig | None:
    """None of an imported run, and of one whose settings another version wrote."""
    try:
        return record.settings
    except UsageError:
        return None


def _command(entry: ReportEntry, number: int) -> str:
    record = entry.found.first
    if (imported := record.imported) is not None:
        return (
            f"stepcli results import {quote(near(imported.file))} "
            f"--like {quote(imported.like or 'RUN')} --name {quote(record.method)}"
        )
    if (config := settings_of(record)) is None:
        return f"# {record.run}: its settings were written by another version of stepcli"
    seeds = [each[0].seed for each in by_seed(entry.found.records)]
    words = [f"stepcli probe --store {quote(near(record.store or 'STORE'))}"]
    words.append(f"--method {quote(config.method)}")
    count = max(seeds) + 1
    words += [f"--seeds {count}"] if count > 1 else []
    chosen = _set_words(config)
    flags = [
        _flags(TaskConfig, _differing(config.task, TaskConfig(), FOUND_BY_ITSELF)),
        _flags(DataConfig, _differing(config.shared, DataConfig())),
        _flags(OptimConfig, _differing(config.recipe, OptimConfig(lr=_usual_lr(config.method)))),
    ]
    if chosen is None or any(part is None for part in flags):
        command = _sweep(config, record, count, f"{_file_name(config.method)}-{number}.yaml")
    else:
        command = " ".join([*words, *(word for part in flags for word in part or ()), *chosen])
    if sorted(seeds) != list(range(count)):
        listed = ", ".join(map(str, sorted(seeds)))
        command = f"# Seeds {listed} are shown above; this trains 0 to {count - 1}.\n{command}"
    return command


def near(place: str) -> str:
    """A path below the current folder by what follows it: a report is made to be passed on."""
    try:
        return str(Path(place).relative_to(Path.cwd())) if "://" not in place else place
    except ValueError:
        return place


def _differing(config: BaseModel, usual: BaseModel, left_out: Sequence[str] = ()) -> JsonObject:
    defaults = usual.model_dump(mode="json")
    return {
        name: value
        for name, value in config.model_dump(mode="json").items()
        if name not in left_out and value != defaults.get(name)
    }


def _flags(model: type[BaseModel], values: JsonObject) -> list[str] | None:
    """Options of the command line; None if one of the fields has none."""
    keys = {field: key for key, field in keys_of(model).items()}
    words = []
    for field, value in values.items():
        if field not in keys or isinstance(value, list | dict) or value in (None, False):
            return None
        flag = f"--{keys[field].replace('_', '-')}"
        words.append(flag if value is True else f"{flag} {quote(_text(value))}")
    return words


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _usual_lr(method: str) -> float:
    try:
        return methods().get(method).lr
    except (UnknownName, UsageError):
        return float(OptimConfig().lr)


def _options(config: RunConfig) -> Mapping[str, Any]:
    usual = methods().usual_options(config.method)
    return {
        name: value
        for name, value in config.options.items()
        if name not in IDENTITY and usual.get(name) != value
    }


def _set_words(config: RunConfig) -> list[str] | None:
    """--set of each option that differs from the method's defaults; None if one is no plain text,
    or has a comma in it, which separates values."""
    found = _options(config)
    if any(value is None or isinstance(value, list | dict) for value in found.values()):
        return None
    return [f"--set {quote(f'{name}={_text(value)}')}" for name, value in found.items()]


def _file_name(method: str) -> str:
    return "".join(c if c.isalnum() or c == "-" else "-" for c in method.rpartition(":")[2])


def _sweep(config: RunConfig, record: RunRecord, seeds: int, name: str) -> str:
    """A file of the sweep, and the sweep; file and command as one text for the shell."""
    recipe = _differing(config.recipe, OptimConfig(lr=_usual_lr(config.method)))
    content: dict[str, Any] = {
        "methods": {config.method: {**recipe, **_options(config)}},
        "task": _differing(config.task, TaskConfig(), FOUND_BY_ITSELF),
        "shared": _differing(config.shared, DataConfig()),
        "seeds": seeds,
    }
    text = yaml.safe_dump({k: v for k, v in content.items() if v != {}}, sort_keys=False)
    store = quote(near(record.store or "STORE"))
    return f"cat > {name} <<'END'\n{text}END\nstepcli sweep {name} --store {store}"
