"""Order tests as lines for a terminal of 80 columns, mean over seeds, per cent."""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from stepcli.probe.analysis.order_tests import OrderTests
from stepcli.runtime.words import counted

Field = Literal["top1", "partner_top1", "flips", "changed", "moved"]


def mean_of(tests: Sequence[OrderTests], order: str, field: Field) -> float | None:
    """One number of one order, mean over seeds; None where it does not exist."""
    values = [getattr(test.orders[order], field) for test in tests]
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def early_curve(tests: Sequence[OrderTests]) -> list[tuple[float, float]]:
    """(observed share, top-1), mean over seeds."""
    return [
        (points[0].observed, fmean(point.top1 for point in points))
        for points in zip(*(test.early for test in tests), strict=True)
    ]


def moved(tests: Sequence[OrderTests], orders: Sequence[str]) -> float:
    """The largest change of a logit over seeds and some orders."""
    return max(test.orders[order].moved for test in tests for order in orders)


def order_lines(label: str, tests: Sequence[OrderTests]) -> list[str]:
    """A table of one configuration."""
    if not tests:
        return [f"{label}: not tested"]
    first, *orders = tests[0].orders
    lines = [
        f"{label}, {counted(len(tests), 'seed')}",
        f"  {'shown':<20} {'top-1':>6} {'to partner':>11} {'changed':>8} {'logits move':>12}",
        f"  {first:<20} {_percent(mean_of(tests, first, 'top1')):>6}",
    ]
    lines += [
        f"  {name:<20} {_percent(mean_of(tests, name, 'top1')):>6} "
        f"{_percent(mean_of(tests, name, 'flips')):>11} "
        f"{_percent(mean_of(tests, name, 'changed')):>8} {moved(tests, [name]):>12.2g}"
        for name in orders
    ]
    curve = early_curve(tests)
    if curve:
        lines.append("  seen so far          " + "".join(f"{100 * x:>6.0f}%" for x, _ in curve))
        lines.append("  top-1                " + "".join(f"{100 * y:>7.1f}" for _, y in curve))
    return lines


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
