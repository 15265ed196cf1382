"""Figures: limits that suit the values, whole marks, whole frames, captions of what is drawn."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from command_line import call
from matplotlib.figure import Figure as Canvas

from stepcli.cache.store.store import Store
from stepcli.probe.report import accuracy_figures, class_figures, order_figures
from stepcli.probe.report.attention_maps import CONFIDENT, confident_mistakes
from stepcli.probe.report.frame_strips import over_time
from stepcli.probe.report.report_data import Study, gather
from stepcli.probe.report.style import Figure, canvas, percent_axis, styled
from stepcli.probe.runs.predictions import Predictions
from stepcli.probe.runs.published import Published


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory, store_of: Callable[..., Store]) -> Study:
    """One seed of two methods that have everything right, on few groups: no intervals."""
    folder = tmp_path_factory.mktemp("perfect")
    store_of(folder / "store", clips_each=18)
    common = ("--store", folder / "store", "--runs", folder / "runs")
    training = ("--epochs", 20, "--batch-size", 8, "--lr", 3e-3, "--label-smoothing", 0)
    call("probe", "--method", "concat,first-last", *training, *common)
    call("order", folder / "runs")
    (study,) = gather(folder / "runs")
    assert [entry.analysis.top1.mean for entry in study.entries] == [1, 1]
    return study


def drawn(study: Study) -> Iterator[Figure]:
    with styled():
        for figure in (
            accuracy_figures.pareto(study, ()),
            accuracy_figures.dumbbells(study),
            order_figures.early(study),
            class_figures.class_bars(study),
            order_figures.calibration(study),
            order_figures.learning(study),
        ):
            assert figure is not None
            yield figure


def test_marks_at_100_are_whole_and_no_tick_is_above(perfect: Study) -> None:
    for figure in drawn(perfect):
        figure.drawn.draw_without_rendering()
        for place in figure.drawn.axes:
            for label, (low, high), ticks in (
                (place.get_xlabel(), place.get_xlim(), place.get_xticks()),
                (place.get_ylabel(), place.get_ylim(), place.get_yticks()),
            ):
                if "%" not in label:
                    continue
                assert high - low >= 10, figure.name
                assert ticks.min() >= 0, figure.name
                assert ticks.max() <= 100, figure.name
                assert len([tick for tick in ticks if low <= tick <= high]) >= 3, figure.name
            if "top-1" in place.get_ylabel():
                assert whole_marks(figure.drawn, place), figure.name


@pytest.mark.parametrize("top1", [0.0, 0.5, 1.0])
def test_names_of_equal_marks_stay_above_the_axis(perfect: Study, top1: float) -> None:
    (entry, other) = perfect.entries
    equal = [
        replace(
            entry, analysis=replace(entry.analysis, top1=replace(entry.analysis.top1, mean=top1))
        )
        for _ in range(6)
    ]
    with styled():
        figure = accuracy_figures.pareto(replace(perfect, entries=(other, *equal)), ())
    figure.drawn.draw_without_rendering()
    (place,) = figure.drawn.axes
    frame = place.get_window_extent()
    assert len(place.texts) == 7
    assert min(text.get_window_extent().y0 for text in place.texts) > frame.y0


def whole_marks(sheet: Canvas, place: Any) -> bool:
    """Whether every marker of a plot lies inside its frame, with its size."""
    frame = place.get_window_extent()
    for line in place.lines:
        if line.get_marker() in (None, "None", ""):
            continue
        reach = line.get_markersize() / 2 * sheet.dpi / 72
        points = place.transData.transform(np.column_stack(line.get_data()))
        inside = (points[:, 1] + reach <= frame.y1) & (points[:, 1] - reach >= frame.y0)
        if not inside.all():
            return False
    return True


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([100.0, 100.0], (89.3, 100.7)),
        ([0.0], (-0.7, 10.7)),
        ([50.0, 50.2], (44.4, 55.8)),
        ([20.0, 90.0], (15.1, 94.9)),
        ([float("nan")], (-7.0, 107.0)),
    ],
)
def test_limits_of_an_axis_of_per_cent(values: list[float], limits: tuple[float, float]) -> None:
    _, place = canvas(2)
    percent_axis(place, "y", values)
    assert place.get_ylim() == pytest.approx(limits)


@pytest.mark.parametrize("frames", [1, 2, 8, 64])
def test_frames_are_whole_numbers(frames: int) -> None:
    share = torch.full((4, frames), 1 / frames)
    with styled():
        figures = [over_time("step", share, share)]
        similar = {"step": np.eye(frames)}
        figure = order_figures.encodings(Study(()), similar)
        assert figure is not None
        for each in (*figures, figure):
            each.drawn.draw_without_rendering()
            for place in each.drawn.axes:
                if "frame" not in place.get_xlabel():
                    continue
                low, high = place.get_xlim()
                ticks = [tick for tick in place.get_xticks() if low <= tick <= high]
                assert ticks, each.name
                assert len(ticks) <= 10
                assert all(float(tick).is_integer() and 1 <= tick <= frames for tick in ticks)


def test_captions_are_about_what_is_drawn(perfect: Study) -> None:
    captions = {figure.name: figure.caption for figure in drawn(perfect)}
    assert "Bars" not in captions["pareto"]  # no interval with 6 groups
    assert "Hollow" not in captions["pareto"]
    assert "Mean over seeds" not in captions["learning"] + captions["classes"]
    assert "label smoothing" not in captions["learning"]
    assert "{" not in "".join(captions.values())
    known = Published("STEP", 70.0, 2_600_000, "arXiv", "", "top-1", "", "", "", True)
    unsized = replace(known, params=None)
    with styled():
        captions = [accuracy_figures.pareto(perfect, [p]).caption for p in (known, unsized)]
    assert all("Hollow" in caption for caption in captions)
    assert ["At the right edge" in caption for caption in captions] == [False, True]


def test_a_mistake_of_little_confidence_is_not_called_confident() -> None:
    logits = np.array([[3.0, 0, 0], [1.0, 0, 0], [0, 0, 9.0], [9.0, 0, 0]], np.float32)
    said = Predictions(
        ("a", "b", "c", "d"), tuple("abcd"), np.zeros(4, np.int64), np.zeros(4, bool),
        np.array([1, 1, 1, 0]), logits,
    )  # fmt: skip
    assert confident_mistakes(said, 4) == [2, 0]
    chance = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert chance.max() > CONFIDENT == 0.8
