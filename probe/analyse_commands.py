"""`stepcli analyse`: pairs, symmetric classes and calibration of finished runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepcli.probe.commands import RUNS_VARIABLE

if TYPE_CHECKING:
    from stepcli.probe.analysis import Analysis

RunsArgument = Annotated[
    Path, typer.Argument(help="Folder of runs.", envvar=RUNS_VARIABLE, show_default="./runs")
]
MethodOption = Annotated[
    str | None, typer.Option(help="Methods to look at: step,linear. Default: all.")
]
StoreOption = Annotated[
    Path | None, typer.Option(help="Where the runs' store is now. Default: where it was.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
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
    """How well each pair of opposite actions is told apart, and how far probabilities hold.

    forced: of a pair's two logits the larger decides, over all its samples; mean of both recalls.
    """
    import json
    from dataclasses import asdict

    from stepcli.probe import analysis
    from stepcli.probe.configurations import configurations
    from stepcli.probe.pairs import read_pairs

    given = None if pairs is None else read_pairs(pairs, several=True)
    names = None if method is None else method.split(",")
    found = [analysis.analyse(each, given) for each in configurations(runs, names)]
    found.sort(key=lambda each: (each.task, each.top1.mean))
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=1))
        return
    for number, each in enumerate(found):
        if number:
            typer.echo()
        for line in describe(each):
            typer.echo(line)


def describe(found: "Analysis") -> list[str]:
    """Lines for a terminal of 80 columns; per cent."""
    seeds = f"{found.seeds} seed{'s' if found.seeds > 1 else ''}"
    top1 = f"{100 * found.top1.mean:.1f}"
    if found.top1.low is not None and found.top1.high is not None:
        top1 += f" [{100 * found.top1.low:.1f}, {100 * found.top1.high:.1f}]"
    lines = [
        f"{found.label}: {found.task}, split {found.split}, {seeds}, {found.samples} samples",
        f"  top-1 {top1}   mean class {100 * found.mean_class:.1f}   {found.params:,} parameters",
    ]
    for title, group in (("with a partner", found.symmetric), ("without", found.other)):
        if group is not None:
            lines.append(
                f"  classes {title}: top-1 {100 * group.top1:.1f}, mean class "
                f"{100 * group.mean_class:.1f} ({group.classes} classes, {group.samples} samples)"
            )
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
        f"  forced choice {100 * total.macro_forced_choice:.1f} over {total.pairs} pairs (macro), "
        f"{100 * total.micro_forced_choice:.1f} over samples (micro)"
    )
    return lines


def _calibration_lines(found: "Analysis") -> list[str]:
    row = found.calibration
    before = row.before
    lines = [
        f"  calibration: NLL {before.nll:.3f}, Brier {before.brier:.3f}, ECE "
        f"{100 * before.ece:.1f} %"
    ]
    if row.after is None:
        lines.append("    no slice of train was held out to fit a temperature: stepcli calibrate")
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
    import json

    from stepcli.probe.configurations import configurations
    from stepcli.probe.order_runs import keep_order_tests, kept_order_tests
    from stepcli.probe.order_table import order_lines

    found = configurations(runs, None if method is None else method.split(","))
    keep_order_tests(found, store, device)
    kept = {each: [kept_order_tests(runs, record) for record in each.records] for each in found}
    if as_json:
        every = [
            {"label": each.label, "run": record["run"], "tests": test}
            for each, of_seeds in kept.items()
            for record, test in zip(each.records, of_seeds, strict=True)
        ]
        typer.echo(json.dumps(every, indent=1))
        return
    for number, (each, tests) in enumerate(kept.items()):
        if number:
            typer.echo()
        for line in order_lines(each.label, [test for test in tests if test is not None]):
            typer.echo(line)


def calibrate(
    runs: RunsArgument = Path("runs"),
    method: MethodOption = None,
    store: StoreOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Fit each probe's temperature on a slice of train, which a twin of it has not seen.

    Twins that stepcli sweep --select has trained are used as they are; others are trained now.
    """
    from stepcli.probe.analysis import temperatures
    from stepcli.probe.configurations import configurations
    from stepcli.probe.recalibrate import keep_calibration, train_slices

    names = None if method is None else method.split(",")
    train_slices(runs, configurations(runs, names), store, device)
    found = configurations(runs, names)
    keep_calibration(found)
    for each in found:
        fitted = temperatures(each)
        text = (
            "none: no twin on a slice" if fitted is None else ", ".join(f"{t:.3f}" for t in fitted)
        )
        typer.echo(f"{each.label}: temperature {text}")
