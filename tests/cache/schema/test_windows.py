"""Names of windows, their places, and what they say of a recording."""

from fractions import Fraction

import pytest

from stepcli.cache.schema.windows import (
    WindowRule,
    parse_windows,
    split_steps,
    split_window,
    window_name,
    window_rule,
    with_steps,
)
from stepcli.runtime.errors import UsageError


@pytest.mark.parametrize(
    ("text", "frames", "rate", "stride", "name"),
    [
        ("16@4fps", 16, Fraction(4), 16, "windows4fps/16"),
        ("16@4fps/8", 16, Fraction(4), 8, "windows4fps/8"),
        ("8@29.97fps/1", 8, Fraction(2997, 100), 1, "windows29.97fps/1"),
        ("4@0.5fps/4", 4, Fraction(1, 2), 4, "windows0.5fps/4"),
    ],
)
def test_a_rule_is_what_its_name_says(
    text: str, frames: int, rate: Fraction, stride: int, name: str
) -> None:
    assert parse_windows(text) == (frames, WindowRule(rate, stride))
    assert WindowRule(rate, stride).name == name
    assert window_rule(name) == WindowRule(rate, stride)
    assert window_rule("uniform") is None
    assert window_rule("dense4") is None


@pytest.mark.parametrize(
    "text", ["16", "16@4", "0@4fps", "16@0fps", "16@4fps/0", "16@-4fps", "a@4fps", "16@4fps/", ""]
)
def test_another_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"e\.g\. 16@4fps/8"):
        parse_windows(text)


def test_a_stride_that_leaves_frames_out_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 16"):
        parse_windows("16@4fps/17")


@pytest.mark.parametrize("length", [1, 3, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_windows_cover_every_step_and_none_begins_twice(length: int, stride: int) -> None:
    rule = WindowRule(Fraction(4), min(stride, length))
    for steps in range(1, 40):
        starts = rule.starts(steps, length)
        assert len(set(starts)) == len(starts)
        assert starts == sorted(starts)
        covered = {start + i for start in starts for i in range(length)}
        assert covered >= set(range(steps))
        if steps >= length:
            assert max(covered) == steps - 1


def test_a_window_is_told_from_any_other_clip() -> None:
    assert split_window(f"a/b@{window_name(3)}") == ("a/b", 3)
    assert split_window("a@w000003@w1234567") == ("a@w000003", 1234567)
    for plain in ("a", "a@left", "a@w12", "@w000001", "a@w00000x"):
        assert split_window(plain) == (plain, None)


def test_a_segment_keeps_the_place_of_a_window() -> None:
    assert split_steps(with_steps("", 8, 40)) == ("", (8, 40))
    stretch = "start_seconds=1.0 end_seconds=2.0"
    assert split_steps(with_steps(stretch, 0, 3)) == (stretch, (0, 3))
    assert split_steps(stretch) == (stretch, None)
