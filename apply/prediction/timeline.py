"""Answers over time: the segments of a video, as text, JSON, subtitles and a picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepcli.runtime.terminal import shown

UNSURE = "(unsure)"
"""In place of an answer whose confidence is below the threshold."""


@dataclass(frozen=True)
class Answer:
    """What one probe says of one window."""

    start: float
    end: float
    """Seconds."""
    probabilities: NDArray[np.float64]
    """[C]"""
    said: str
    """The likeliest class, or UNSURE."""
    last_frame: float = math.nan
    """When the window's last frame is shown, seconds; not of an answer on a single step."""

    def top(self, classes: Sequence[str], count: int) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(classes[i], float(self.probabilities[i])) for i in order.tolist()]


@dataclass(frozen=True)
class Stretch:
    """A stretch of a video with one answer."""

    start: float
    end: float
    said: str
    probability: float
    """Mean over its windows of the class's; 0 where unsure."""


def answer(
    start: float,
    end: float,
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    threshold: float,
) -> Answer:
    """An answer that abstains below a threshold of confidence."""
    best = int(probabilities.argmax())
    said = classes[best] if probabilities[best] >= threshold else UNSURE
    return Answer(start, end, probabilities, said)


def stretches(answers: Sequence[Answer], classes: Sequence[str]) -> list[Stretch]:
    """Neighbouring windows with one answer as one; two that overlap meet in the middle."""
    found: list[Stretch] = []
    members: list[list[float]] = []
    for number, each in enumerate(answers):
        start, end = each.start, each.end
        if number > 0:
            start = (answers[number - 1].end + start) / 2
        if number + 1 < len(answers):
            end = (end + answers[number + 1].start) / 2
        own = 0.0 if each.said == UNSURE else float(each.probabilities[classes.index(each.said)])
        if found and found[-1].said == each.said:
            members[-1].append(own)
            start = found.pop().start
        else:
            members.append([own])
        found.append(Stretch(start, end, each.said, sum(members[-1]) / len(members[-1])))
    return found


def clock(seconds: float, separator: str = ".") -> str:
    """Hours, minutes and seconds, e.g. 00:01:02.500; subtitles have a comma."""
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, part = divmod(rest, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{separator}{part:03d}"


def subtitles(found: Sequence[Stretch]) -> str:
    """A SubRip file (.srt) that a player shows over the video."""
    blocks = [
        f"{number}\n{clock(each.start, ',')} --> {clock(each.end, ',')}\n"
        f"{shown(each.said)}{f' {100 * each.probability:.0f} %' if each.said != UNSURE else ''}\n"
        for number, each in enumerate(found, 1)
    ]
    return "\n".join(blocks)


def picture(answers: Sequence[Answer], classes: Sequence[str], title: str) -> bytes:
    """Probability of each class that is ever likeliest, over time, as SVG."""
    from stepcli.probe.report.style import canvas, finish, legend_below, series, styled

    shown = list(dict.fromkeys(int(each.probabilities.argmax()) for each in answers))[:8]
    times = [(each.start + each.end) / 2 for each in answers]
    with styled():
        drawn, axes = canvas(3.0)
        for number, index in enumerate(shown):
            values = [100 * each.probabilities[index] for each in answers]
            axes.plot(times, values, label=classes[index], **series(number))
        axes.set_xlabel("seconds")
        axes.set_ylabel("probability, %")
        axes.set_ylim(0, 101)
        axes.set_title(title)
        legend_below(drawn, axes, columns=3)
        return finish(drawn, "timeline", title, "", title).svg
