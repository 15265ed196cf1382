"""Which point of a search is best on what was held out, and the file that keeps the choice."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, TypeAdapter, ValidationError

from stepcli.probe.config import OptimConfig, RunConfig, SweepConfig
from stepcli.probe.runs.stats import expected_best
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import replace_synced
from stepcli.runtime.json_files import read_json
from stepcli.runtime.settings import JsonObject

if TYPE_CHECKING:
    from stepcli.probe.sweeps.holding import HoldOut


@dataclass(frozen=True, slots=True)
class Choice:
    """What the slices say about one method."""

    configs: tuple[RunConfig, ...]
    """For each seed, the config that was best on that seed's slice; to be refit on all of train."""
    expected_best: tuple[float, ...]
    """Expected score of the best of 1, 2, ... trials, mean over seeds."""
    warnings: tuple[str, ...]
    held_out: "HoldOut | None" = None
    """What the scores are of; None where they were given."""


def choose(
    configs: Sequence[RunConfig], scores: Sequence[float], held_out: "HoldOut | None" = None
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


def chosen_settings(choice: Choice, sweep: SweepConfig) -> list[JsonObject]:
    """For each seed the values that were chosen of what its sweep lists."""
    # Not above: who reads a selection needs no torch.
    from stepcli.probe.methods.catalogue import PRESET
    from stepcli.probe.methods.registry import methods

    found = []
    for config in choice.configs:
        recipe = config.recipe.model_dump()
        names = sweep.methods[config.method]
        chosen = {name: recipe.get(name, config.options.get(name)) for name in names}
        if PRESET in chosen:
            chosen[PRESET] = methods().load(config.method).preset_of(config.options)
        found.append(chosen)
    return found


@dataclass(frozen=True, slots=True)
class HeldOutClips:
    """What a choice was made on."""

    folds: int | None
    """None: a slice for each seed."""
    clips: int
    classes: int
    groups: int
    said: str
    """For users."""


@dataclass(frozen=True, slots=True)
class MethodSelection:
    """What was chosen for one method. Earlier versions did not write the fields with defaults."""

    chosen_runs: Annotated[list[Annotated[str, Field(pattern=r"^[^/]+$")]], Field(min_length=1)]
    """Names of the runs on the test split, one per seed."""
    settings: list[JsonObject]
    """The values that were chosen, one object per seed."""
    expected_best_top1: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    held_out: HeldOutClips | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """<runs>/selection-<id>.json: what a sweep with --select, or an adaptive search, chose."""

    methods: Annotated[dict[str, MethodSelection], Field(min_length=1)]
    sweep: JsonObject = field(default_factory=dict)
    """The settings of the sweep."""


SELECTION = TypeAdapter(Selection)


def selection_of(
    sweep: SweepConfig, choices: Mapping[str, Choice], runs: Mapping[str, Sequence[str]]
) -> Selection:
    """What to keep of some choices.

    Args:
        sweep: what was searched.
        choices: by method.
        runs: by method the runs of its chosen configs.
    """
    methods = {}
    for method, choice in choices.items():
        held = choice.held_out
        methods[method] = MethodSelection(
            list(runs[method]),
            chosen_settings(choice, sweep),
            list(choice.expected_best),
            list(choice.warnings),
            None
            if held is None
            else HeldOutClips(
                held.folds, held.size.clips, held.size.classes, held.size.groups, held.said
            ),
        )
    return Selection(methods, sweep.model_dump(mode="json"))


def write_selection(path: Path, selection: Selection) -> None:
    """Put a selection in place of an earlier one, whole."""
    content = SELECTION.dump_python(selection, mode="json")
    replace_synced(path, json.dumps(content, indent=1).encode())


def read_selection(path: Path) -> Selection:
    """A selection that a sweep wrote.

    Raises:
        UsageError: the file is not what a sweep writes.
    """
    content = read_json(path, dict, links=False)
    try:
        return SELECTION.validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {place}: {first['msg']}; make the selection again") from None
