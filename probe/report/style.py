"""How figures look: readable without colour, on paper and on a screen."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter, MaxNLocator

from stepcli.probe.runs.cells import figure_text
from stepcli.runtime.terminal import shown

WIDTH = 7.2
"""Inches: two columns of a paper."""

FEWEST_POINTS = 10.0
"""Per cent that an axis spans at least: a smaller range makes noise look like a difference."""

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",  # the same letters on every machine
    "svg.hashsalt": "stepcli",
    "pdf.fonttype": 42,
}

# Okabe & Ito's palette, which colour-blind readers tell apart; each with its own marker and hatch.
LOOKS: dict[str, dict[str, str]] = {
    "order-blind": {"color": "#56b4e9", "marker": "o", "hatch": ""},
    "control": {"color": "#e69f00", "marker": "s", "hatch": "///"},
    "sees order": {"color": "#d55e00", "marker": "D", "hatch": "xxx"},
    "imported": {"color": "#009e73", "marker": "^", "hatch": "..."},
    "published": {"color": "#000000", "marker": "v", "hatch": ""},
}
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
MARKERS = "oDs^vPX*"
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))


class LineLook(TypedDict):
    """How a line of a plot is drawn, by matplotlib's names."""

    color: str
    linestyle: Any
    marker: str
    markersize: int


@dataclass(frozen=True)
class Figure:
    """A drawn figure with the words that go with it."""

    name: str
    """Of its files."""
    title: str
    caption: str
    alt: str
    """What it shows, for those who cannot see it."""
    svg: bytes = field(repr=False)
    drawn: Canvas = field(repr=False)

    def pdf(self) -> bytes:
        """The same for papers; its fonts are embedded, which takes a second."""
        return _saved(self.drawn, "pdf", {"CreationDate": None})


def canvas(height: float, columns: int = 1, rows: int = 1, **options: Any) -> tuple[Canvas, Any]:
    """An empty figure of full width, `height` inches, and its axes."""
    drawn = Canvas(figsize=(WIDTH, height), layout="constrained")
    return drawn, drawn.subplots(rows, columns, **options)


def finish(drawn: Canvas, name: str, title: str, caption: str, alt: str) -> Figure:
    """A figure with its words, drawn once; the same data gives the same bytes.

    What is written in it may be names of classes and runs: a $ in them begins no formula, and what
    XML does not allow is shown as its escape.
    """
    for text in drawn.findobj(Text):
        text.set_text(figure_text(text.get_text()))
    for axes in drawn.axes:
        for axis in (axes.xaxis, axes.yaxis):
            named = axis.get_major_formatter()
            if isinstance(named, FixedFormatter | FuncFormatter):  # others write numbers
                axis.set_major_formatter(_plain(named))
    title, caption, alt = shown(title), shown(caption), shown(alt)
    return Figure(name, title, caption, alt, _saved(drawn, "svg", {"Date": None}), drawn)


def _plain(named: Any) -> FuncFormatter:
    """Labels of an axis that are names, drawn literally."""
    return FuncFormatter(lambda x, place: figure_text(str(named(x, place))))


def _saved(drawn: Canvas, form: str, stamp: dict[str, None]) -> bytes:
    sink = io.BytesIO()
    drawn.savefig(sink, format=form, metadata=stamp, dpi=150)
    # The layout is known now; a second file need not compute it again.
    drawn.set_layout_engine("none")
    return sink.getvalue()


def legend_below(drawn: Canvas, axes: Any, columns: int = 2) -> None:
    """What the marks mean, below the plot, where it hides nothing."""
    handles, names = axes.get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside lower center", ncols=columns)


class _PerCent(MaxNLocator):
    """Ticks of an axis of per cent: its margins below 0 and above 100 have none."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Those of the range that are possible values."""
        ticks = np.asarray(super().tick_values(vmin, vmax))
        return ticks[(ticks > -1e-6) & (ticks < 100 + 1e-6)]


def percent_axis(place: Any, which: Literal["x", "y"], values: Iterable[float]) -> None:
    """Limits of an axis of per cent: 10 points at least, and room for marks at its ends.

    Args:
        place: The axes.
        which: Of its axes.
        values: All that is drawn, ends of intervals included; per cent.
    """
    known = [value for value in values if np.isfinite(value)] or [0.0, 100.0]
    low, high = max(0.0, min(known)), min(100.0, max(known))
    if high - low < FEWEST_POINTS:
        low = min(max(0.0, (low + high - FEWEST_POINTS) / 2), 100 - FEWEST_POINTS)
        high = low + FEWEST_POINTS
    margin = 0.07 * (high - low)
    (place.set_xlim if which == "x" else place.set_ylim)(low - margin, high + margin)
    axis = place.xaxis if which == "x" else place.yaxis
    axis.set_major_locator(_PerCent(nbins=6, steps=[1, 2, 2.5, 5, 10]))


class _Counting(MaxNLocator):
    """Ticks of an axis that counts from 1: whole numbers, few enough to be read."""

    def __init__(self, last: int) -> None:
        super().__init__(nbins=8, integer=True, min_n_ticks=1)
        self._last = last

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Those of the range that are counted."""
        ticks = np.asarray(super().tick_values(vmin, vmax))
        kept = ticks[(ticks > 0.5) & (ticks < self._last + 0.5)]
        return kept if len(kept) else np.array([1.0])


def counting_axis(place: Any, which: Literal["x", "y"], last: int) -> None:
    """Ticks of an axis of frames, heads or epochs: whole numbers from 1 to `last`."""
    axis = place.xaxis if which == "x" else place.yaxis
    axis.set_major_locator(_Counting(last))


def series(index: int) -> LineLook:
    """Colour, dash and marker of the n-th line of a plot."""
    return {
        "color": SERIES[index % len(SERIES)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 4,
    }


def styled() -> Any:
    """A context in which figures are drawn in this style."""
    return mpl.rc_context(rc=STYLE)


def shortened(labels: Sequence[str], longest: int = 34) -> list[str]:
    """Labels that leave room for the plot."""
    return [label if len(label) <= longest else f"{label[: longest - 1]}…" for label in labels]
