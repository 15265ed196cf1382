"""Windows of whole recordings: a store holds each as a clip, `<recording>@w000003`.

A recording is looked at on a grid of time steps, step k at k / rate seconds. Window n holds the T
steps from n * stride on; the last one ends with the recording, so that no step is left out. A
recording of fewer steps than T is one window that repeats its last step.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from stepcli.runtime.errors import UsageError

_RULE = re.compile(r"windows(?P<rate>\d+(?:\.\d+)?)fps/(?P<stride>[1-9]\d*)")
_GIVEN = re.compile(r"(?P<frames>[1-9]\d*)@(?P<rate>\d+(?:\.\d+)?)fps(?:/(?P<stride>[1-9]\d*))?")
_NAME = re.compile(r"w(\d{6,})")
_STEPS = re.compile(r"(?:^| )steps=(\d+)/(\d+)$")


@dataclass(frozen=True, slots=True)
class WindowRule:
    """How recordings are cut; a store's sampling rule by its name."""

    rate: Fraction
    """Steps per second."""
    stride: int
    """Steps from one window's start to the next's."""

    @property
    def name(self) -> str:
        """As the spec of a store has it, e.g. "windows4fps/8"."""
        return f"windows{_text(self.rate)}fps/{self.stride}"

    def starts(self, steps: int, length: int) -> list[int]:
        """First step of each window of a recording.

        Args:
            steps: N, steps of the recording; at least 1.
            length: T, steps of a window.
        """
        last = max(0, steps - length)
        return [*range(0, last, self.stride), last]


def parse_windows(text: str) -> tuple[int, WindowRule]:
    """ "16@4fps/8" -> T and the rule; without a stride windows do not overlap.

    Raises:
        UsageError: something else, or a stride that would leave steps out.
    """
    found = _GIVEN.fullmatch(text)
    rate = Fraction(Decimal(found["rate"])) if found else Fraction(0)
    if found is None or not rate:
        raise UsageError(
            f"--windows {text}: expected T@RATEfps or T@RATEfps/STRIDE, e.g. 16@4fps/8 for "
            "windows of 16 frames at 4 frames per second, one every 8 frames"
        )
    frames = int(found["frames"])
    stride = int(found["stride"] or frames)
    if stride > frames:
        raise UsageError(
            f"--windows {text}: a stride of {stride} frames leaves frames out between windows of "
            f"{frames}; give a stride of at most {frames}"
        )
    return frames, WindowRule(rate, stride)


def window_rule(sampling: str) -> WindowRule | None:
    """The rule of a store of windows; None of a store of clips. `sampling` as in its spec."""
    found = _RULE.fullmatch(sampling)
    return (
        None
        if found is None
        else WindowRule(Fraction(Decimal(found["rate"])), int(found["stride"]))
    )


def window_name(number: int) -> str:
    """What follows the recording's id and "@", e.g. "w000003"."""
    return f"w{number:06d}"


def split_window(stored_id: str) -> tuple[str, int | None]:
    """A stored id -> id of the recording, number of the window; None of any other clip."""
    recording, separator, name = stored_id.rpartition("@")
    found = _NAME.fullmatch(name)
    if separator and recording and found:
        return recording, int(found[1])
    return stored_id, None


def with_steps(segment: str, start: int, steps: int) -> str:
    """A stretch of a video with the place of a window in it, for `Source.segment`."""
    return f"{segment} steps={start}/{steps}".strip()


def split_steps(segment: str) -> tuple[str, tuple[int, int] | None]:
    """`Source.segment` -> the stretch, and the window's first step and N; None of other clips."""
    found = _STEPS.search(segment)
    if found is None:
        return segment, None
    return segment[: found.start()], (int(found[1]), int(found[2]))


def _text(rate: Fraction) -> str:
    """A rate that was given as a decimal number."""
    return f"{Decimal(rate.numerator) / Decimal(rate.denominator):f}"
