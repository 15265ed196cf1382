"""A sweep as a user writes it, in a file or by options, to the configs of single runs."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stepcli.probe.config import (
    MOST_RUNS,
    DataConfig,
    OptimConfig,
    RunConfig,
    Search,
    SweepConfig,
    TaskConfig,
)
from stepcli.probe.methods.catalogue import Declared
from stepcli.probe.methods.registry import ProbeInfo, described, parse_options
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.settings import JsonObject
from stepcli.runtime.yaml_files import read_yaml_fields

Model = TypeVar("Model", bound=BaseModel)
Values = Mapping[str, Sequence[Any]]
"""Name of a recipe field or method option to the values that are tried."""


def checked(model: type[Model], **values: Any) -> Model:
    """Build a config, with a one-line error where a value does not fit.

    Raises:
        UsageError: naming the option, what was expected and what came.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "-".join(str(part) for part in first["loc"]).replace("_", "-")
        hint = ""
        if isinstance(first["input"], str) and ".." in first["input"]:
            hint = "; a range needs --search optuna, otherwise list the values with commas"
        raise UsageError(f"--{name} {first['input']!r}: {first['msg']}{hint}") from None


def parse_settings(
    settings: Sequence[str], names: Sequence[str]
) -> dict[str, dict[str, list[str]]]:
    """Texts "option=value[,value...]", each for those of the methods that have the option.

    Returns:
        Method -> option -> values.

    Raises:
        UsageError: a setting is not "option=value".
        UnknownName: no such method, or no method of the list has the option.
    """
    infos = [described(name) for name in names]
    chosen: dict[str, dict[str, list[str]]] = {name: {} for name in names}
    given: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting!r}: expected option=value, e.g. --set heads=12")
        if given.setdefault(name, value) != value:
            raise UsageError(
                f"--set {name} is given twice, with {given[name]} and {value}; give one value, or "
                f"for a sweep all in one: --set {name}={given[name]},{value}"
            )
        known = {option for info in infos for option in sweepable(info)}
        if name not in known:
            raise UnknownName(f"option of {', '.join(names)}", name, known)
        for info in infos:
            if name in sweepable(info):
                chosen[info.name][name] = value.split(",")
    return chosen


def points(values: Values, search: Search, trials: int, seed: int) -> list[JsonObject]:
    """The combinations to try.

    Args:
        values: What each setting may be.
        search: "grid": all combinations; "random": `trials` different ones of them; "zip": the
            first values together, the second values together, ... "optuna" finds its own points.
        trials: How many, for "random".
        seed: Of the random choice.

    Raises:
        UsageError: lists to zip have different lengths.
    """
    if search == "zip":
        longest = max((len(v) for v in values.values()), default=1)
        for name, tried in values.items():
            if len(tried) not in (1, longest):
                raise UsageError(
                    f"zip: {name} has {len(tried)} values where another list has {longest}; "
                    "give lists of one length, or search=grid"
                )
        return [
            {name: tried[i if len(tried) > 1 else 0] for name, tried in values.items()}
            for i in range(longest)
        ]
    if (count := math.prod(map(len, values.values()))) > MOST_RUNS:
        raise UsageError(f"a grid of {count} settings, at most {MOST_RUNS}; list fewer values")
    grid = [
        dict(zip(values, combination, strict=True))
        for combination in itertools.product(*values.values())
    ]
    if search == "random" and trials < len(grid):
        import numpy as np  # here alone: a typo is answered before it is loaded

        chosen = np.random.default_rng(seed).choice(len(grid), trials, replace=False)
        return [grid[i] for i in sorted(chosen)]
    return grid


def run_configs(
    name: str,
    tried: Iterable[Mapping[str, Any]],
    recipe: Mapping[str, Any],
    task: TaskConfig,
    data: DataConfig,
    seeds: Iterable[int],
    *,
    own_recipe: bool = False,
) -> list[RunConfig]:
    """One config for each combination of settings and seed of one method.

    Args:
        name: The method.
        tried: Training settings and method options together, by name.
        recipe: Training settings that all share; what is absent has the method's own default.
        task: The task of all.
        data: Epochs, batch size, data order.
        seeds: Seeds of each combination.
        own_recipe: Where neither `tried` nor `recipe` gives a value, the method's authors' counts.

    Raises:
        UnknownName: a setting is neither of the recipe nor of the method.
        UsageError: a value does not fit.
    """
    info = described(name)
    configs = []
    seeds = list(seeds)
    for settings in tried:
        own = {k: v for k, v in settings.items() if k not in OptimConfig.model_fields}
        mine = {k: v for k, v in settings.items() if k in OptimConfig.model_fields}
        options = parse_options(info, own).model_dump(mode="json")
        whole = checked(
            OptimConfig, **{"lr": info.lr, **(info.recipe if own_recipe else {}), **recipe, **mine}
        )
        configs += [
            RunConfig(
                method=name,
                options=options,
                task=_drawn(task, seed),
                recipe=whole,
                shared=data,
                seed=seed,
            )
            for seed in seeds
        ]
    return configs


def _drawn(task: TaskConfig, seed: int) -> TaskConfig:
    """Each seed draws its own part of the training clips, where not all are used."""
    return task.model_copy(update={"draw_seed": seed}) if task.subsampled else task


def sweepable(info: ProbeInfo | Declared) -> list[str]:
    """Names that a sweep over a method may list."""
    return [*OptimConfig.model_fields, *info.settable]


def shipped_recipes() -> dict[str, Path]:
    """The sweeps that come with the package, by file name."""
    folder = Path(__file__).parents[1] / "recipes"
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}


def read_sweep(path: Path) -> SweepConfig:
    """Read and check a sweep's YAML file; `recipes/<name>.yaml` also finds the shipped ones.

    Raises:
        UsageError: it cannot be read or a field does not fit; the message names the field.
        UnknownName: a method, recipe field or option that there is not.
    """
    if path.parent == Path("recipes") and not path.exists():
        if path.name not in shipped_recipes():
            raise UnknownName("shipped recipe", path.name, shipped_recipes())
        path = shipped_recipes()[path.name]
    if not path.exists() and f"{path.stem}.yaml" in shipped_recipes():
        raise UsageError(f"{path}: no such file; did you mean recipes/{path.stem}.yaml?")
    content = read_yaml_fields(path, "methods:")
    for name in content:
        if name not in SweepConfig.model_fields:
            raise UnknownName(f"field of {path}", str(name), SweepConfig.model_fields)
    return checked_sweep(content, str(path))


def checked_sweep(content: Mapping[str, Any], source: str) -> SweepConfig:
    """A sweep from its fields; `source` says in errors where they were given.

    Raises:
        UsageError: a value does not fit.
        UnknownName: a method or setting that there is not.
    """
    try:
        sweep = SweepConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        sections = {"task": TaskConfig.model_fields, "shared": DataConfig.model_fields}
        known = sections.get(str(first["loc"][0]))
        if first["type"] == "extra_forbidden" and known is not None:
            what = f"field of {first['loc'][0]} in {source}"
            raise UnknownName(what, str(first["loc"][-1]), known) from None
        raise UsageError(f"{source}: {place}: {first['msg']}, got {first['input']!r:.60}") from None
    check_names(sweep)
    return sweep


def check_names(sweep: SweepConfig) -> None:
    """Refuse what no method knows.

    Raises:
        UnknownName: listing the close names.
    """
    for variant in sweep.variants:
        for name in variant:
            if name not in TaskConfig.model_fields:
                raise UnknownName("field of a variant", name, TaskConfig.model_fields)
    for name in sweep.recipe:
        if name not in OptimConfig.model_fields:
            raise UnknownName("field of recipe", name, OptimConfig.model_fields)
    for method, settings in sweep.methods.items():
        known = sweepable(described(method))
        for name in settings:
            if name not in known:
                raise UnknownName(f"setting of method {method}", name, known)


def sweep_configs(sweep: SweepConfig) -> dict[str, list[RunConfig]]:
    """Every method's configs on every variant; each point of a search has every seed."""
    configs = {}
    for variant in sweep.variants:
        task = checked(TaskConfig, **sweep.task.model_dump() | variant)
        for method, settings in sweep.methods.items():
            values = {k: v if isinstance(v, list) else [v] for k, v in settings.items()}
            tried = points(values, sweep.search, sweep.trials, sweep.search_seed)
            if len(tried) * sweep.seeds * len(sweep.variants) > MOST_RUNS:
                raise UsageError(
                    f"method {method}: {len(tried)} settings, {sweep.seeds} seeds and "
                    f"{len(sweep.variants)} variants are more than {MOST_RUNS} runs; list fewer"
                )
            configs[" ".join([method, *(f"{k}={v}" for k, v in variant.items())])] = run_configs(
                method,
                tried,
                sweep.recipe,
                task,
                sweep.shared,
                range(sweep.seeds),
                own_recipe=sweep.own_recipes,
            )
    return configs


def budget_warnings(configs: Mapping[str, Sequence[RunConfig]]) -> list[str]:
    """Say where methods get unequal numbers of trials: the one that tries more has more luck."""
    trials = {method: len(each) // len({c.seed for c in each}) for method, each in configs.items()}
    if len(set(trials.values())) < 2:
        return []
    counts = ", ".join(f"{method} {n}" for method, n in trials.items())
    return [f"methods have unequal numbers of trials ({counts}): give each the same"]
