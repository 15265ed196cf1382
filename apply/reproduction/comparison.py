"""A recipe's runs beside the published numbers: difference, tolerance, verdict."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from stepcli.apply.reproduction.recipe import Margin, Measure, PublishedFigure, Recipe
from stepcli.probe.runs.metrics import top_k
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.published import Published, shipped
from stepcli.probe.runs.record import RunRecord, read_runs
from stepcli.probe.sweeps.expand import checked_sweep, sweep_configs
from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.errors import UsageError
from stepcli.runtime.settings import JsonObject
from stepcli.runtime.words import counted

HEADER = ["measured", "runs", "ours", "published", "difference", "tolerance", "verdict"]
NOT_JUDGED, NOT_MEASURED, WITHIN, OUTSIDE = "not judged", "not measured", "within", "OUTSIDE"


def published_row(recipe: Recipe, figure: PublishedFigure) -> Published:
    """The row of probe/published/<data set>.csv that a figure names.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = [
        row
        for row in shipped([recipe.dataset])
        if (row.method, row.measure) == (figure.published, figure.published_measure)
    ]
    if len(found) != 1:
        raise UsageError(
            f"recipe {recipe.name}: {len(found)} published rows are {figure.published!r} with "
            f"{figure.published_measure!r}; expected one"
        )
    return found[0]


def short_name(row: Published) -> str:
    """A published method without its remarks: what the table has room for."""
    return row.method.partition(" (")[0].partition(",")[0]


def sources(recipe: Recipe) -> list[str]:
    """Where the published numbers come from and how far they are comparable, line by line."""
    leads = (
        f"{each.low:+g} to {each.high:+g} {each.measure}: {each.source}, over "
        f"{', '.join(each.over)} here"
        for each in recipe.margins
    )
    rows = ((each, published_row(recipe, each)) for each in recipe.figures)
    figures = (
        f"{row.value:.1f} {row.method}: {row.measure}; {row.protocol}; {row.backbone}; "
        f"{row.source}. {each.why}"
        for each, row in rows
    )
    return [*leads, *figures]


def compare(
    recipe: Recipe, runs: Path, changes: Sequence[str]
) -> tuple[list[list[str]], list[str]]:
    """Rows under `HEADER`, and notes on them.

    Args:
        recipe: Whose.
        runs: Folder of its runs.
        changes: What makes them another experiment; nothing is judged then.

    Raises:
        UsageError: the folder has no run of the recipe's data set.
    """
    found = [run for run in read_runs(runs) if run.dataset == recipe.dataset]
    if not found:
        raise UsageError(f"{runs}: no finished run on {recipe.dataset}; run the recipe first")
    notes = [*changes]
    if others := sorted({int(str(run.spec.get("dim", 0))) for run in found} - {recipe.channels}):
        notes.append(
            f"the tokens have {others[0]} channels where {recipe.backbone} has {recipe.channels}"
        )
    notes += _other_frames(recipe, found)
    notes += _other_settings(recipe, found)
    if len({run.fingerprint for run in found}) > 1:
        notes.append(f"the runs in {runs} are of several stores, or of one that has grown")
    return table_rows(recipe, found, runs, judged=not notes), notes


def table_rows(
    recipe: Recipe, found: Sequence[RunRecord], runs: Path, *, judged: bool
) -> list[list[str]]:
    """Rows under `HEADER`: of each part of train the margins, then the figures."""
    draws: dict[str, list[RunRecord]] = {}
    for run in found:
        draws.setdefault(_draw(run.task_settings), []).append(run)
    rows = []
    for draw, members in draws.items():
        rows += [_margin(each, members, runs, draw, judged) for each in recipe.margins]
        for figure in recipe.figures:
            rows.append(_figure(figure, published_row(recipe, figure), members, runs, draw, judged))
    return rows


def _other_frames(recipe: Recipe, found: Sequence[RunRecord]) -> list[str]:
    wanted = recipe.frames
    have = {f"{run.spec.get('frames')} frames, {run.spec.get('sampling')}" for run in found}
    return [f"the store has {each}; the recipe {wanted}" for each in sorted(have - {wanted})]


def _other_settings(recipe: Recipe, found: Sequence[RunRecord]) -> list[str]:
    """Runs that the recipe's sweep does not have, and those that it has and are not there.

    Which point a selection has chosen is left open; seeds and all else are not.
    """
    sweep = checked_sweep(recipe.sweep, f"recipe {recipe.name}")
    asked = [config for each in sweep_configs(sweep).values() for config in each]
    known = {_settings(config.model_dump(mode="json")) for config in asked}
    notes = []
    if other := [run.run for run in found if _settings(run.config) not in known]:
        notes.append(f"{counted(len(other), 'run')} with other settings, e.g. {other[0]}")
    wanted = {(c.method, c.seed, _draw(c.task.model_dump(mode="json"))) for c in asked}
    for part in dict.fromkeys(run.part for run in found):
        have = {(r.method, r.seed, _draw(r.task_settings)) for r in found if r.part == part}
        if lacking := sorted(wanted - have):
            method, seed, draw = lacking[0]
            where = "".join(f", {each}" for each in (draw, part and f"split {part}") if each)
            notes.append(
                f"{counted(len(lacking), 'run')} missing, e.g. {method} with seed {seed}{where}"
            )
    return notes


def _settings(config: JsonObject) -> str:
    """A run's config without its official split, which the sweep asks for by "all"."""
    task = config.get("task")
    rest = {k: v for k, v in task.items() if k != "split"} if isinstance(task, dict) else task
    return canonical_json({**config, "task": rest})


def _draw(task: JsonObject) -> str:
    """Which part of train a run has seen, by its task; "" for all of it."""
    shots, share = task.get("shots"), float(str(task.get("train_share", 1.0)))
    if shots is not None:
        return f"{shots} clips per class"
    return f"{100 * share:g} % of train" if share < 1 else ""


def _margin(
    margin: Margin, found: list[RunRecord], runs: Path, draw: str, judged: bool
) -> list[str]:
    ours = _mean(margin.method, margin.measure, found, runs)
    others = {
        name: value
        for name in margin.over
        if (value := _mean(name, margin.measure, found, runs)) is not None
    }
    best = max(others, key=lambda name: others[name], default="")
    against = f"{best or '?'} (best of {len(margin.over)})" if margin.over[1:] else margin.over[0]
    lead = None if ours is None or len(others) < len(margin.over) else ours - others[best]
    off = None if lead is None else lead - min(max(lead, margin.low), margin.high)
    return [
        _title(f"{margin.method} - {against}: {margin.measure}", draw),
        _count(margin.method, found),
        "-" if lead is None else f"{lead:+.1f}",
        f"{margin.low:+g} to {margin.high:+g}",
        *_verdict(off, margin.tolerance if judged else None),
    ]


def _figure(
    figure: PublishedFigure,
    row: Published,
    found: list[RunRecord],
    runs: Path,
    draw: str,
    judged: bool,
) -> list[str]:
    ours = _mean(figure.method, figure.measure, found, runs)
    return [
        _title(f"{figure.method}: {figure.measure}", draw),
        _count(figure.method, found),
        "-" if ours is None else f"{ours:.1f}",
        f"{row.value:.1f} ({short_name(row)})",
        *_verdict(None if ours is None else ours - row.value, figure.tolerance if judged else None),
    ]


def _verdict(off: float | None, tolerance: float | None) -> list[str]:
    """Cells of difference, tolerance and verdict; tolerance None: not judged."""
    if off is None:
        return ["-", "-" if tolerance is None else f"{tolerance:.1f}", NOT_MEASURED]
    if tolerance is None:
        return [f"{off:+.1f}", "-", NOT_JUDGED]
    # Within half a unit of what is shown, so that a row never contradicts itself.
    within = abs(round(off, 1)) <= tolerance
    return [f"{off:+.1f}", f"{tolerance:.1f}", WITHIN if within else OUTSIDE]


def _title(text: str, draw: str) -> str:
    return f"{text}, {draw}" if draw else text


def _count(method: str, found: Sequence[RunRecord]) -> str:
    return str(sum(run.method == method for run in found))


def _mean(method: str, measure: Measure, found: Sequence[RunRecord], runs: Path) -> float | None:
    """Per cent, mean over seeds and official splits; None where a run lacks the measure."""
    values = [_value(run, measure, runs) for run in found if run.method == method]
    known = [value for value in values if value is not None]
    return 100 * fmean(known) if known and len(known) == len(values) else None


def _value(run: RunRecord, measure: Measure, runs: Path) -> float | None:
    if measure == "top-1":
        return run.top1
    if measure == "mean class":
        return run.mean_class
    if not run.pairs:
        return None
    number = {name: index for index, name in enumerate(run.classes)}
    paired = sorted({number[name] for pair in run.pairs for name in pair})
    said = read_predictions(runs / run.run)
    shown = np.isin(said.labels, paired)
    return top_k(said.logits[shown], said.labels[shown], 1) if shown.any() else None
