"""`stepcli sweep`, from its flags to its last run."""

from collections.abc import Mapping, Sequence

from stepcli.probe.config import RunConfig, SweepConfig
from stepcli.probe.sweeps.choice import (
    Choice,
    choose,
    chosen_settings,
    selection_of,
    write_selection,
)
from stepcli.probe.sweeps.expand import budget_warnings
from stepcli.probe.sweeps.holding import HoldOut, hold_out
from stepcli.probe.sweeps.session import Session
from stepcli.probe.training.plan import BankPlan, PassPlan
from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import disk_errors
from stepcli.runtime.settings import JsonObject
from stepcli.runtime.terminal import say, warn
from stepcli.runtime.words import counted, sized


def run_sweep(
    session: Session, sweep: SweepConfig, grids: Mapping[str, list[RunConfig]], *, dry_run: bool
) -> None:
    """Train a sweep on one store, or say what that would be.

    Args:
        session: The store.
        sweep: What was asked.
        grids: From `checked_grids`.
        dry_run: Train nothing.
    """
    if sweep.search == "optuna":
        from stepcli.probe.sweeps.adaptive import adaptive_search, points_note

        if dry_run:
            say(points_note(sweep, list(sweep.methods)))
            return
        found = adaptive_search(session, sweep)
        _report(session, sweep, found)
        session.run([config for choice in found.values() for config in choice.configs])
        return
    configs = _by_group(session, grids, sweep.select)
    every = [config for each in configs.values() for config in each]
    for warning in budget_warnings(configs):
        warn(f"warning: {warning}")
    held = _hold_outs(session, sweep, configs) if sweep.select else {}
    first = every
    if sweep.select:
        first = [
            run for name, each in configs.items() for c in each for run in held[name].configs(c)
        ]
    if dry_run:
        plans = session.plan(first)
        session.warn(plans)
        for line in describe_plan(plans, len(first)):
            say(line)
        if plans:
            say(
                f"about {_duration(session.estimate(plans))} of training, from a few timed steps "
                "of each pass on random tokens; reading and testing come on top"
            )
        if sweep.select:
            for said in dict.fromkeys(each.said for each in held.values()):
                say(f"chosen {said}")
            refits = len(configs) * sweep.seeds
            say(f"then {refits} chosen configurations are refit on all of train and tested")
        return
    records = session.run(first)
    if not sweep.select:
        return
    choices, start = {}, 0
    for method, each in configs.items():
        stop = start + len(each) * (held[method].folds or 1)
        choices[method] = choose(each, held[method].scores(records[start:stop]), held[method])
        start = stop
    _report(session, sweep, choices)
    session.run([config for choice in choices.values() for config in choice.configs])


def _by_group(
    session: Session, configs: Mapping[str, list[RunConfig]], select: bool
) -> dict[str, list[RunConfig]]:
    """Each config once for each group where one is left out.

    Where settings are chosen on slices of train, each group has a train, and a choice, of its own.
    """
    every: dict[str, list[RunConfig]] = {}
    for name, each in configs.items():
        for config in session.for_each_part(each):
            task = config.task
            parts = {"held_group": task.held_group, "split": task.split}
            own = " ".join(
                [name, *(f"{k}={v}" for k, v in parts.items() if select and v is not None)]
            )
            every.setdefault(own, []).append(config)
    return every


def _hold_outs(
    session: Session, sweep: SweepConfig, configs: Mapping[str, Sequence[RunConfig]]
) -> dict[str, HoldOut]:
    """What is held out for each method on each variant; the same for all methods of a variant.

    Raises:
        UsageError: too little can be held out.
    """
    by_task: dict[object, HoldOut] = {}
    held = {}
    for name, each in configs.items():
        tasks = tuple(dict.fromkeys((config.task, config.seed) for config in each))
        if tasks not in by_task:
            try:
                by_task[tasks] = hold_out(session, each, sweep.slice_min, sweep.folds)
            except UsageError as error:
                raise UsageError(f"{name}: {error}") from None
        held[name] = by_task[tasks]
    return held


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def describe_plan(plans: Sequence[PassPlan], runs: int) -> list[str]:
    """Lines for a terminal: what is left to train, and what it takes."""
    left = sum(len(plan.configs) for plan in plans)
    passes = "1 pass" if len(plans) == 1 else f"{len(plans)} passes"
    lines = [f"{counted(runs, 'run')}, {runs - left} done already, {left} to train in {passes}"]
    for number, plan in enumerate(plans, 1):
        memory = sum(bank.bytes for bank in plan.banks)
        lines.append(
            f"pass {number}: {counted(plan.epochs, 'epoch')}, {counted(plan.steps, 'step')}, "
            f"{counted(plan.clips, 'clip')} "
            f"({sized(plan.token_bytes)} of tokens), {counted(len(plan.banks), 'bank')} "
            f"({sized(memory)} of weights, gradients and moments)"
        )
        lines += [
            f"  {bank.members:>4} x {_bank_name(bank, plan)}, "
            f"{bank.parameters_each:,} parameters each"
            for bank in plan.banks
        ]
    return lines


def _bank_name(bank: BankPlan, plan: PassPlan) -> str:
    """A bank's method, and the options that tell it from the method's other banks."""
    of_method = [other.options for other in plan.banks if other.method == bank.method]
    differing = [
        f"{name}={value}"
        for name, value in bank.options.items()
        if any(options.get(name) != value for options in of_method)
    ]
    return " ".join([bank.method, *differing])


def _report(session: Session, sweep: SweepConfig, choices: Mapping[str, Choice]) -> None:
    """Say what was chosen, and keep it beside the runs."""
    held = [choice.held_out.said for choice in choices.values() if choice.held_out is not None]
    for said in dict.fromkeys(held):
        say(f"chosen {said}")
    for method, choice in choices.items():
        for warning in choice.warnings:
            warn(f"warning: {warning}")
        say(f"{method}: chosen seed by seed: {_counted(chosen_settings(choice, sweep))}")
    runs = {method: [session.name(c) for c in each.configs] for method, each in choices.items()}
    first, *_ = next(iter(runs.values()))
    place = session.runs / f"selection-{first.rpartition('-')[2]}.json"
    with disk_errors(place):
        write_selection(place, selection_of(sweep, choices, runs))
    say(f"choices and expected-best curves: {place}")


def _counted(settings: Sequence[JsonObject]) -> str:
    texts = [canonical_json(each) for each in settings]
    return ", ".join(f"{texts.count(text)} x {text}" for text in dict.fromkeys(texts))
