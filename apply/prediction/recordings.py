"""Probes of recordings' windows on a video: the windows of extraction, then an answer per step."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stepcli.apply.prediction.probes import Applied, TrainedProbe
from stepcli.apply.prediction.timeline import UNSURE, Answer
from stepcli.apply.prediction.windows import Window
from stepcli.cache.schema.windows import WindowRule, window_rule
from stepcli.extract.decode.grid import frames_at, steps_of
from stepcli.probe.analysis.frame_scores import Smoothing, frame_scores, step_labels
from stepcli.runtime.errors import UsageError

TASK = "dense"


def rule_of(applied: Applied, window: float | None, stride: float | None) -> WindowRule | None:
    """How the probes' recordings were cut; None for probes of clips.

    Raises:
        UsageError: windows of another length or stride are asked for.
    """
    rule = window_rule(applied.spec.sampling)
    if rule is None:
        return None
    if window is not None or stride is not None:
        raise UsageError(
            f"these probes look at windows of {applied.spec.frames} frames at "
            f"{float(rule.rate):g} per second, one every {rule.stride}, as they were extracted; "
            "leave --window and --stride out"
        )
    return rule


def grid_windows(times: NDArray[np.float64], rule: WindowRule, frames: int) -> list[Window]:
    """The windows into which extraction would cut a video.

    Args:
        times: of the video's frames.
        rule: how it is cut.
        frames: T.
    """
    seconds = times.tolist()
    steps = steps_of(seconds, rule.rate)
    shown = frames_at(seconds, steps, rule.rate)
    found = []
    for start in rule.starts(steps, frames):
        numbers = tuple(shown[min(start + i, steps - 1)] for i in range(frames))
        end = min(start + frames, steps)
        times_shown = tuple(seconds[number] for number in numbers)
        found.append(Window(float(start / rule.rate), float(end / rule.rate), numbers, times_shown))
    return found


def step_answers(
    windows: Sequence[Answer],
    rule: WindowRule,
    frames: int,
    probe: TrainedProbe,
    threshold: float,
) -> list[Answer]:
    """An answer per step, labelled as `stepcli dense` labels the frames of test recordings.

    Without a choice of `stepcli dense` beside the run, every window that holds a step counts, and
    segments may be of any length.

    Args:
        windows: answers on a video's windows.
        rule: how it was cut.
        frames: T.
        probe: whose answers they are.
        threshold: probability below which no segment is reported.
    """
    how = probe.smoothing or Smoothing(frames // 2, 1)
    starts = [round(each.start * rule.rate) for each in windows]
    steps = round(windows[-1].end * rule.rate)
    chances = np.stack([each.probabilities for each in windows])
    scores = frame_scores(chances, starts, steps, frames, how.reach)
    found = []
    for step, (own, label) in enumerate(
        zip(scores, step_labels(scores, how.shortest).tolist(), strict=True)
    ):
        said = probe.classes[label] if own[label] >= threshold else UNSURE
        found.append(Answer(float(step / rule.rate), float((step + 1) / rule.rate), own, said))
    return found
