"""The report's sentences, each made from the runs' numbers alone."""

from stepcli.probe.report.report_data import (
    SINGLE_FRAMES,
    ReportEntry,
    Study,
    difference,
    shuffled_twins,
)
from stepcli.probe.report.tables import percent
from stepcli.probe.runs.compare import covered, no_interval


def headline(study: Study) -> str:
    """The study in two sentences: whether seeing the order of all frames helps, and over what."""
    sees, blind = study.best("sees order"), study.best("order-blind")
    others = [e for e in (blind, study.best("control")) if e is not None]
    reference = max(others, key=_top1, default=None)
    if sees is None:
        best = max(study.entries, key=_top1)
        return (
            f"No probe that sees the order of frames is among the runs. The best, {best.label}, "
            f"has a top-1 of {_points(best)} %."
        )
    if reference is None:
        return (
            f"{sees.label} has a top-1 of {_points(sees)} %. What the order of frames adds is not "
            "known: no control and no order-blind probe is among the runs."
        )
    text = _compared(sees, reference)
    if blind is not None and blind is not reference:
        text += f" The best order-blind probe, {blind.label}, has {_points(blind)} %."
    return text


def _compared(sees: ReportEntry, reference: ReportEntry) -> str:
    """Better, worse, or neither is shown, with the numbers."""
    kind = "control" if reference.kind == "control" else "order-blind probe"
    against = f"{reference.label}, the best {kind}"
    numbers = f"top-1 {_points(sees)} % against {_points(reference)} %"
    gain = difference(sees, reference)
    if gain is None:
        return f"{sees.label} and {against}: {numbers}, but of different samples."
    numbers += f" ({100 * gain.mean:+.1f} points"
    if gain.low is None or gain.high is None:
        return f"{sees.label} and {against}: {numbers}); too few groups of clips for a conclusion."
    numbers += f", 95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    if gain.low > 0:
        return f"{sees.label} sees the order of frames and is better than {against}: {numbers}."
    if gain.high < 0:
        return f"{sees.label} sees the order of frames and is worse than {against}: {numbers}."
    return (
        f"{sees.label} sees the order of frames and is not shown to be better than {against}: "
        f"{numbers}."
    )


def _top1(entry: ReportEntry) -> float:
    return entry.analysis.top1.mean


def _points(entry: ReportEntry) -> str:
    return percent(_top1(entry))


def verdict(study: Study) -> list[str]:
    """What the study shows at a glance; a gain from order is claimed only over the controls."""
    what = "forced choice between opposite classes" if study.has_pairs else "top-1"
    lines = []
    blind, control = study.best("order-blind"), study.best("control")
    sees = study.best("sees order", "imported")
    if blind is not None:
        chance = " (chance is 50 %)" if study.has_pairs else ""
        lines.append(
            f"Probes that do not see the order of frames reach at most {percent(blind.score)} % "
            f"{what}{chance}: {blind.label}."
        )
    singles = [e for e in study.of_kind("control") if e.analysis.method in SINGLE_FRAMES]
    single = max(singles, key=_score, default=None)
    if single is not None and single is not control:
        lines.append(f"The best single frame, {single.label}, reaches {percent(single.score)} %.")
    if control is not None:
        lines.append(
            f"The best trained control, {control.label}, reaches {percent(control.score)} %: "
            "that much is recognised without the order of all frames."
        )
    if sees is not None:
        reference = max((e for e in (blind, control) if e is not None), key=_score, default=None)
        steps = [e for e in study.of_kind("sees order") if e.analysis.method == "step"]
        step = max(steps, key=_score, default=sees)
        for entry in [sees] if step is sees else [sees, step]:
            lines.append(f"{entry.label}, which sees order, reaches {percent(entry.score)} %.")
            if reference is not None:
                lines.append(_gain(entry, reference))
        lines += [
            f"Trained on shuffled frames, {entry.analysis.method} reaches "
            f"{percent(twin.score)} % instead of {percent(entry.score)} %: it gains "
            f"{100 * (entry.score - twin.score):+.1f} points from order."
            for entry, twin in shuffled_twins(study)
            if entry.kind == "sees order"
        ]
        if control is None:
            lines.append(
                "No trained control (first-frame, last-frame, first-last, duration) is among the "
                "runs, so how much of this is owed to order is not known."
            )
    return lines


def _score(entry: ReportEntry) -> float:
    return entry.score


def _gain(sees: ReportEntry, reference: ReportEntry) -> str:
    gain = difference(sees, reference)
    if gain is None:
        return (
            f"{sees.label} and {reference.label} were tested on different samples: no difference."
        )
    text = f"Top-1 of {sees.label} minus {reference.label}: {100 * gain.mean:+.1f} points"
    if gain.low is None or gain.high is None:
        return f"{text} ({no_interval(gain)})."
    told = (
        "a gain"
        if gain.low > 0
        else "a loss"
        if gain.high < 0
        else "no difference is shown on these clips"
    )
    return (
        f"{text}, 95 % interval [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] over "
        f"{covered(gain)}: {told}."
    )
