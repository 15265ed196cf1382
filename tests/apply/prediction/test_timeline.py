"""Answers on windows, put together to stretches of a video."""

import numpy as np
import pytest

from stepcli.apply.prediction.timeline import Answer, clock, stretches, subtitles


def test_neighbouring_windows_with_one_answer_are_one_stretch() -> None:
    classes = ["a", "b"]
    answers = [
        Answer(0, 2, np.array([0.8, 0.2]), "a"),
        Answer(1, 3, np.array([0.6, 0.4]), "a"),
        Answer(2, 4, np.array([0.1, 0.9]), "b"),
        Answer(3, 5, np.array([0.5, 0.5]), "(unsure)"),
    ]
    found = stretches(answers, classes)
    assert [(s.start, s.end, s.said) for s in found] == [
        *((0, 2.5, "a"), (2.5, 3.5, "b"), (3.5, 5, "(unsure)"))
    ]
    assert found[0].probability == pytest.approx(0.7)
    assert subtitles(found).splitlines()[:3] == [*("1", "00:00:00,000 --> 00:00:02,500", "a 70 %")]
    assert clock(3723.0456) == "01:02:03.046"
