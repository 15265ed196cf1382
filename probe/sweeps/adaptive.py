"""Adaptive search with Optuna: what was seen on held-out slices says what to try next.

The study lives in one journal file beside the runs, so several processes may search together and a
killed one is taken up again. Each asks for a few points at once, because they train as one bank.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from stepcli.probe.config import RunConfig, SweepConfig, TaskConfig
from stepcli.probe.runs.stats import expected_best
from stepcli.probe.sweeps.choice import Choice, edge_warnings
from stepcli.probe.sweeps.expand import run_configs
from stepcli.probe.sweeps.holding import HoldOut, hold_out
from stepcli.probe.sweeps.ranges import bounds, fixed, searched
from stepcli.probe.sweeps.session import Session
from stepcli.runtime.errors import UsageError
from stepcli.runtime.extras import load_extra
from stepcli.runtime.files import require_writable
from stepcli.runtime.terminal import say

if TYPE_CHECKING:
    import optuna

AT_ONCE = 8
"""Points asked for together: enough to fill a bank, few enough to learn from in between."""


def adaptive_search(session: Session, sweep: SweepConfig) -> dict[str, Choice]:
    """Search each method's settings; returns what was chosen for every seed, to be refit.

    A point's score is its top-1 on the held-out slices, mean over seeds: it serves all seeds.

    Raises:
        UsageError: optuna is not installed or does not load, or the sweep has variants or nothing
            to search.
    """
    optuna = load_extra("optuna", "search", "--search optuna")
    if len(sweep.variants) > 1:
        raise UsageError("search: optuna searches one task; give one variant per sweep")
    task = TaskConfig.model_validate(sweep.task.model_dump() | sweep.variants[0])
    if task.leaves_a_group_out:
        raise UsageError(
            "search: optuna searches one split of the clips; choose settings for each group with "
            "--search random --select"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    require_writable(session.runs)
    backend = optuna.storages.journal.JournalFileBackend(str(session.runs / "optuna.journal"))
    storage = optuna.storages.JournalStorage(backend)
    choices = {}
    held = None
    for method, settings in sweep.methods.items():
        every = run_configs(
            method, [{}], sweep.recipe, task, sweep.shared, [0], own_recipe=sweep.own_recipes
        )
        if held is None:
            seeds = run_configs(method, [{}], sweep.recipe, task, sweep.shared, range(sweep.seeds))
            held = hold_out(session, seeds, sweep.slice_min, sweep.folds)
        folds = "" if held.folds is None else f" {held.folds} folds"
        first = session.run_id(every[0])
        study = optuna.create_study(
            study_name=f"{first} {sorted(settings.items())} {sweep.seeds}{folds}",
            storage=storage,
            sampler=_sampler(sweep.search_seed),
            direction="maximize",
            load_if_exists=True,
        )
        choices[method] = _search(session, sweep, task, method, settings, study, held)
    return choices


def _sampler(seed: int) -> "optuna.samplers.TPESampler":
    import optuna

    return optuna.samplers.TPESampler(seed=seed, multivariate=True)


def _search(
    session: Session,
    sweep: SweepConfig,
    task: TaskConfig,
    method: str,
    settings: Mapping[str, Any],
    study: "optuna.Study",
    held: HoldOut,
) -> Choice:
    """Try points until the study has as many as the sweep wants; the best, for every seed."""

    def configs_of(parameters: Mapping[str, Any]) -> list[RunConfig]:
        return run_configs(
            method,
            [fixed(settings) | dict(parameters)],
            sweep.recipe,
            task,
            sweep.shared,
            range(sweep.seeds),
            own_recipe=sweep.own_recipes,
        )

    while (left := sweep.trials - len(_finished(study))) > 0:
        trials = [study.ask() for _ in range(min(AT_ONCE, left))]
        # The study counts trials over all processes: no two of them draw the same points.
        study.sampler = _sampler(sweep.search_seed + trials[0].number)
        asked = [
            configs_of({name: suggest(trial, name, values) for name, values in searched(settings)})
            for trial in trials
        ]
        flat = [run for configs in asked for config in configs for run in held.configs(config)]
        scores = iter(held.scores(session.run(flat)))
        for trial, configs in zip(trials, asked, strict=True):
            study.tell(trial, fmean(next(scores) for _ in configs))
        say(
            f"{method}: {len(_finished(study))} of {sweep.trials} points, best on what is held out "
            f"{100 * study.best_value:.1f} % with {study.best_params}"
        )
    finished = _finished(study)[: sweep.trials]
    best = max(finished, key=lambda trial: trial.value or 0.0)
    tried = {each.number: configs_of(each.params) for each in finished}
    every = [config for configs in tried.values() for config in configs]
    return Choice(
        tuple(tried[best.number]),
        tuple(expected_best([trial.value or 0.0 for trial in finished])),
        tuple(edge_warnings(every, tried[best.number])) if _listed(settings) else (),
        held,
    )


def _finished(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    return [trial for trial in study.get_trials(deepcopy=False) if trial.value is not None]


def _listed(settings: Mapping[str, Any]) -> bool:
    """Whether a recipe's numbers come from lists: only those have edges among what was tried."""
    return all(isinstance(values, list) for _, values in searched(settings))


def suggest(trial: "optuna.Trial", name: str, values: Any) -> Any:
    """The value that the study wants to see next; ranges above zero are searched by factors."""
    ends = bounds(values)
    if ends is None:
        return trial.suggest_categorical(name, values)
    whole = all(end.is_integer() and end >= 1 for end in ends)
    if whole:
        return trial.suggest_int(name, int(ends[0]), int(ends[1]))
    return trial.suggest_float(name, *ends, log=ends[0] > 0)


def points_note(sweep: SweepConfig, methods: Sequence[str]) -> str:
    """What a dry run can say: which points there will be is not known before."""
    return (
        f"search optuna: {sweep.trials} points for each of {', '.join(methods)}, "
        f"{sweep.seeds} seeds each, on held-out slices; then the best of each is refit on all of "
        "train and tested"
    )
