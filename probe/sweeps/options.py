"""A sweep from its options, checked before torch is imported: a typo is answered at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcli.probe.config import RunConfig, SweepConfig
from stepcli.probe.sweeps.expand import (
    checked_sweep,
    parse_settings,
    read_sweep,
    run_configs,
    sweep_configs,
)
from stepcli.probe.sweeps.ranges import bounds, fixed, searched
from stepcli.runtime.errors import UsageError


def options_over(
    file: Path | None,
    *,
    methods: Sequence[str] | None,
    settings: Sequence[str],
    optim: Mapping[str, str],
    task: Mapping[str, Any],
    data: Mapping[str, Any],
    search: Mapping[str, Any],
) -> SweepConfig:
    """A sweep from a file, from options, or from a file with options over it.

    Args:
        file: Of the sweep.
        methods: In place of the file's.
        settings: Texts "option=value[,value...]".
        optim: Fields of OptimConfig to the values to try, with commas.
        task: Fields of TaskConfig that were given.
        data: Fields of DataConfig that were given.
        search: Fields of SweepConfig that were given.

    Raises:
        UsageError: neither file nor methods, or a value that does not fit.
        UnknownName: a method or setting that there is not.
    """
    content: dict[str, Any] = {} if file is None else read_sweep(file).model_dump(mode="json")
    if methods is not None:
        content["methods"] = {name: content.get("methods", {}).get(name, {}) for name in methods}
    if not content.get("methods"):
        raise UsageError("nothing to sweep: give a YAML file, or --method step,linear")
    for name, tried in optim.items():
        for values in content["methods"].values():
            values[name] = tried.split(",")
    for method, options in parse_settings(settings, list(content["methods"])).items():
        content["methods"][method] |= options
    content["task"] = content.get("task", {}) | task
    if "variants" in content:
        content["variants"] = _agreeing(content["variants"], task)
    content["shared"] = content.get("shared", {}) | data
    if "epochs" in data:
        content["shared"]["steps"] = None
    return checked_sweep({**content, **search}, "sweep")


def _agreeing(variants: Sequence[Mapping[str, Any]], task: Mapping[str, Any]) -> list[Any]:
    """The variants of a file that leave a given field open or have its given value.

    Raises:
        UsageError: none does.
    """
    kept = list(variants)
    for name, value in task.items():
        tried = list(dict.fromkeys(f"{each[name]}" for each in kept if name in each))
        kept = [each for each in kept if each.get(name, value) == value]
        if not kept:
            flag = "task" if name == "name" else name.replace("_", "-")
            raise UsageError(
                f"--{flag} {value}: the variants of the file have {', '.join(tried)}; give one of "
                "these to train that variant alone, or change a copy of the file"
            )
    return kept


def checked_grids(sweep: SweepConfig) -> dict[str, list[RunConfig]]:
    """Every configuration of a sweep, by method; {} of an adaptive search, which finds its own.

    Raises:
        UsageError: a value does not fit, or there are too many.
        UnknownName: a method has no such preset.
    """
    if sweep.search != "optuna":
        return sweep_configs(sweep)
    for method, settings in sweep.methods.items():
        tried = [fixed(settings)]
        for name, values in searched(settings):
            if bounds(values) is None:
                tried += [{name: value} for value in values]
        run_configs(method, tried, sweep.recipe, sweep.task, sweep.shared, [0])
    return {}
