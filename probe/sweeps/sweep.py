"""A sweep: many settings of many methods, from a file or from flags, and how the best is chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stepcli.probe.config import MOST_RUNS, OptimConfig, RunConfig, SweepConfig, TaskConfig
from stepcli.probe.methods.registry import methods
from stepcli.probe.runs.stats import expected_best
from stepcli.probe.sweeps.expand import checked, points, run_configs, sweepable
from stepcli.probe.sweeps.holding import HoldOut
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.yaml_files import read_yaml_fields


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
        known = sweepable(methods().load(method))
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


@dataclass(frozen=True, slots=True)
class Choice:
    """What the slices say about one method."""

    configs: tuple[RunConfig, ...]
    """For each seed, the config that was best on that seed's slice; to be refit on all of train."""
    expected_best: tuple[float, ...]
    """Expected score of the best of 1, 2, ... trials, mean over seeds."""
    warnings: tuple[str, ...]
    held_out: HoldOut | None = None
    """What the scores are of; None where they were given."""


def choose(
    configs: Sequence[RunConfig], scores: Sequence[float], held_out: HoldOut | None = None
) -> Choice:
    """Choose a method's settings, for each seed by its own scores.

    Args:
        configs: One method's configs, every point with every seed.
        scores: Top-1 of each on what was held out for it.
        held_out: What that was.
    """
    by_seed: dict[int, list[tuple[RunConfig, float]]] = {}
    for config, score in zip(configs, scores, strict=True):
        by_seed.setdefault(config.seed, []).append((config, score))
    # max takes the first of equals: the order of the search, never chance, breaks ties.
    best = tuple(max(tried, key=lambda item: item[1])[0] for tried in by_seed.values())
    curves = [expected_best([score for _, score in tried]) for tried in by_seed.values()]
    mean_curve = tuple(sum(step) / len(curves) for step in zip(*curves, strict=True))
    warnings = (*edge_warnings(configs, best), *_tie_warnings(by_seed.values()))
    return Choice(best, mean_curve, warnings, held_out)


def _tie_warnings(every: Iterable[Sequence[tuple[RunConfig, float]]]) -> list[str]:
    """Say where what was held out does not tell the best points apart."""
    tied, seeds = 0, 0
    for tried in every:
        best = max(score for _, score in tried)
        equal = [config for config, score in tried if score == best]
        tied += len(equal) > 1
        seeds += 1
        method = tried[0][0].method
    if not tied:
        return []
    return [
        f"{method}: several points are equally good on what was held out for {tied} of {seeds} "
        "seeds; the first in the order of the search is taken"
    ]


def edge_warnings(configs: Sequence[RunConfig], best: Sequence[RunConfig]) -> list[str]:
    """Say where the best value of a searched number is the smallest or largest that was tried."""
    warnings = []
    for name in OptimConfig.model_fields:
        tried = sorted({getattr(config.recipe, name) for config in configs})
        if len(tried) < 2:
            continue
        for edge, side in ((tried[0], "smallest"), (tried[-1], "largest")):
            hits = sum(getattr(config.recipe, name) == edge for config in best)
            if hits * 2 > len(best):
                warnings.append(
                    f"{configs[0].method}: the best {name} is the {side} tried ({edge:g}) for "
                    f"{hits} of {len(best)} seeds; widen the range"
                )
    return warnings
