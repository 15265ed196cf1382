"""`stepcli analyse`: pairs, symmetric classes and calibration of finished runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepcli.probe.cli.options import RUNS_VARIABLE, DeviceOption, names_of, require_given
from stepcli.probe.methods.catalogue import complete_methods
from stepcli.runtime.terminal import print_json, say, warn
from stepcli.runtime.words import counted

if TYPE_CHECKING:
    from stepcli.probe.analysis.summary import Analysis

RunsArgument = Annotated[
    Path,
    typer.Argument(
        help="Folder of runs, or of one run.", envvar=RUNS_VARIABLE, show_default="./runs"
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        help="Methods to look at: step,linear. Default: all.", autocompletion=complete_methods
    ),
]
StoreOption = Annotated[
    Path | None, typer.Option(help="Where the runs' store is now. Default: where it was.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For scripts; fractions of 1.")]


def analyse(
    runs: RunsArgument = Path("runs"),
    method: MethodOption = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="CSV with columns label,partner; a class may have several partners. "
            "Default: the pairs that the runs were trained with."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How well opposite actions are told apart, and how well probabilities are calibrated.

    forced: of a pair's two logits the larger decides, over all its samples; mean of both recalls.
    """
    from dataclasses import asdict

    from stepcli.probe.runs.configurations import configurations, without_several
    from stepcli.probe.runs.pairs import read_pairs

    given = None if pairs is None else read_pairs(pairs, several=True)
    chosen = configurations(runs, None if method is None else names_of("--method", method))
    for note in without_several(runs):
        warn(f"note: {note}")
    from stepcli.probe.analysis import summary as analysis

    found = [analysis.analyse(each, given) for each in chosen]
    found.sort(key=lambda each: (each.task, each.top1.mean))
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for number, each in enumerate(found):
        if number:
            say()
        for line in describe(each):
            say(line)


def describe(found: "Analysis") -> list[str]:
    """Lines for a terminal of 80 columns; per cent."""
    seeds = counted(found.seeds, "seed")
    top1 = f"{100 * found.top1.mean:.1f}"
    if found.top1.low is not None and found.top1.high is not None:
        top1 += f" [{100 * found.top1.low:.1f}, {100 * found.top1.high:.1f}]"
    values = ", ".join(f"{name} {100 * v:.1f}" for name, v in found.top1.by_group.items())
    from textwrap import wrap

    from stepcli.probe.runs.stats import FEWEST_GROUPS

    lines = [
        f"{found.label}: {found.task}, split {found.split}, {seeds}, "
        f"{counted(found.samples, 'sample')}",
        f"  top-1 {top1}   mean class {100 * found.mean_class:.1f}   {found.params:,} parameters",
    ]
    if found.mean_class_recall5 is not None:
        lines.append(f"  class-mean recall@5 {100 * found.mean_class_recall5:.1f}")
    if values:
        text = f"fewer than {FEWEST_GROUPS} groups, no interval; top-1 by group: {values}"
        lines += wrap(text, 80, initial_indent="  ", subsequent_indent="    ")
    for title, group in (
        ("with a partner", found.symmetric),
        ("without a partner", found.other),
    ):
        if group is not None:
            lines.append(
                f"  classes {title}: top-1 {100 * group.top1:.1f}, mean class "
                f"{100 * group.mean_class:.1f} ({counted(group.classes, 'class', 'classes')}, "
                f"{counted(group.samples, 'sample')})"
            )
    lines += [
        f"  {row.type} classes: top-1 {100 * row.top1:.1f} (forward {100 * row.forward:.1f}, "
        f"backward {100 * row.backward:.1f}); {100 * row.turns:.1f} turn as they should"
        for row in found.types
    ]
    lines += _pair_lines(found)
    return lines + _calibration_lines(found)


def _pair_lines(found: "Analysis") -> list[str]:
    if found.overall is None:
        return ["  no pair of nearly symmetric classes is tested; give --pairs FILE"]
    width = max(20, *(len(f"{row.a} | {row.b}") for row in found.pairs))
    # What a narrow terminal leaves for the names; longer ones take a line of their own.
    width = min(width, 38)
    head = f"  {'pair':<{width}}  {'n':>6}  forced   AUC  recalls    either"
    lines = [head]
    for row in found.pairs:
        name = f"{row.a} | {row.b}"
        if len(name) > width:
            lines.append(f"  {name}")
            name = ""
        either = "-" if row.accuracy_either is None else f"{100 * row.accuracy_either:.1f}"
        lines.append(
            f"  {name:<{width}}  {row.samples:>6}  {100 * row.forced_choice:>6.1f}  "
            f"{row.auc:.2f}  {100 * row.recall_a:>3.0f} / {100 * row.recall_b:>3.0f}  {either:>6}"
        )
    total = found.overall
    lines.append(
        f"  forced choice {100 * total.macro_forced_choice:.1f} over "
        f"{counted(total.pairs, 'pair')} (macro), "
        f"{100 * total.micro_forced_choice:.1f} over samples (micro)"
    )
    return lines


def _calibration_lines(found: "Analysis") -> list[str]:
    from textwrap import wrap

    row = found.calibration
    before = row.before
    lines = [
        f"  calibration: NLL {before.nll:.3f}, Brier {before.brier:.3f}, ECE "
        f"{100 * before.ece:.1f} %"
    ]
    if row.after is None:
        lines += wrap(row.note, 80, initial_indent="    ", subsequent_indent="    ")
    else:
        after = row.after
        lines.append(
            f"    at temperature {after.temperature:.2f}: NLL {after.nll:.3f}, Brier "
            f"{after.brier:.3f}, ECE {100 * after.ece:.1f} %"
        )
    lines.append(
        f"    {100 * row.coverage_at_5:.0f} % can be answered with at most 5 % wrong "
        f"(mean risk {100 * row.risk_area:.1f} %)"
    )
    return lines


def order(
    runs: RunsArgument = Path("runs"),
    method: MethodOption = None,
    store: StoreOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show the test clips to trained probes backward, shuffled, in part: do the answers change?

    Straight from the stored frames, for tokens that depend on their own frame alone. Kept beside
    each run (order.json); the report draws them.
    """
    from stepcli.probe.runs.configurations import configurations, without_several
    from stepcli.runtime.errors import UsageError

    found = configurations(runs, None if method is None else names_of("--method", method))
    for note in without_several(runs):
        warn(f"note: {note}")
    require_given(store)
    from stepcli.probe.analysis.order_runs import TESTS, keep_order_tests, kept_order_tests
    from stepcli.probe.analysis.order_table import order_lines

    failed = keep_order_tests(found, store, device)
    kept = {
        each: [kept_order_tests(each.runs, record) for record in each.records] for each in found
    }
    if as_json:
        every = [
            {
                "label": each.label,
                "task": each.first.task,
                "run": record.run,
                "tests": test and TESTS.dump_python(test, mode="json"),
            }
            for each, of_seeds in kept.items()
            for record, test in zip(each.records, of_seeds, strict=True)
        ]
        print_json(every)
    else:
        for number, (each, tests) in enumerate(kept.items()):
            if number:
                say()
            for line in order_lines(each.title, [test for test in tests if test is not None]):
                say(line)
    if failed:
        run, reason = next(iter(failed.items()))
        total = sum(len(each.records) for each in found)
        raise UsageError(f"{len(failed)} of {counted(total, 'run')} not tested: {run}: {reason}")


def calibrate(
    runs: RunsArgument = Path("runs"),
    method: MethodOption = None,
    store: StoreOption = None,
    device: DeviceOption = "auto",
    slice_share: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.9, help="Share of train that a slice takes. Default: 0.1."),
    ] = None,
    slice_min: Annotated[
        str | None,
        typer.Option(help="Least to fit on: clips=30,groups=5,classes=8 (half of them)."),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Remove the runs' temperatures and thresholds.")
    ] = False,
) -> None:
    """Fit each probe's temperature on a slice of train, which a twin of it has not seen.

    Twins that stepcli sweep --select has trained are used as they are; others are trained now.
    """
    from stepcli.probe.config import SliceMinimum, slice_minimum
    from stepcli.probe.runs.configurations import configurations, without_several
    from stepcli.runtime.errors import UsageError

    names = None if method is None else names_of("--method", method)
    found = configurations(runs, names)
    for note in without_several(runs):
        warn(f"note: {note}")
    minimum = SliceMinimum(**({} if slice_min is None else slice_minimum(slice_min)))
    require_given(store)
    from stepcli.probe.analysis.temperature import (
        keep_calibration,
        train_slices,
        undo_calibration,
    )

    if undo:
        removed = undo_calibration(found)
        say(f"Removed the calibration of {counted(removed, 'run')}")
        return
    refused = train_slices(found[0].runs, found, store, device, minimum, slice_share)
    outcomes = keep_calibration(configurations(runs, names), minimum, refused)
    for each in outcomes:
        fitted = "none" if each.kept is None else f"{each.kept.temperature:.3f}"
        note = f" ({each.note})" if each.note else ""
        say(f"{each.title}, seed {each.seed}: temperature {fitted}{note}")
    if failed := [each for each in outcomes if each.failed]:
        raise UsageError(
            f"{len(failed)} of {len(outcomes)} runs have no temperature: {failed[0].title}, seed "
            f"{failed[0].seed}: {failed[0].note}"
        )
