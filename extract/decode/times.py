"""When each frame of a video is shown, also where the file's own timestamps do not make sense.

Timestamps that increase are kept as they are. Otherwise:

- A timestamp that is missing, repeated or out of line costs itself alone: its frame is shown one
  frame of the stream's rate after the one before, or midway where that would reach the next.
- Where the clock is set back and stays back (streams that were joined), the rest is shifted as a
  whole: its time continues one frame after the last one, with its own spacing.
- Where the timestamps are those of decoding, out of order throughout, they are sorted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median

from stepcli.runtime.errors import VideoError

WINDOW = 16
"""Frames in a row that may be out of line before it counts as a clock that was set anew."""

SHUFFLED = 8
"""Frames: more than one step back among them means times of decoding, not bad timestamps."""


@dataclass(frozen=True, slots=True)
class Times:
    """When each frame of a video is shown, in presentation order."""

    seconds: list[float]
    """Since the first frame; strictly increasing."""
    pts: list[int] | None
    """The same in the stream's ticks; None where the file's own times make no sense."""


def frame_times(
    ticks: Sequence[int | None],
    time_base: Fraction,
    rate: Fraction | None,
    *,
    steady: bool = False,
) -> Times:
    """The times of frames.

    Args:
        ticks: presentation timestamp of each frame in the order in which frames are shown; None
            where it has none.
        time_base: seconds per tick.
        rate: frames per second of the stream, if known.
        steady: timestamps that do not increase mean nothing and the rate holds throughout.

    Raises:
        VideoError: neither usable timestamps nor a rate.
    """
    known = [tick for tick in ticks if tick is not None]
    descents = sum(before >= after for before, after in pairwise(known))
    if len(known) == len(ticks) and not descents:
        return Times([float((tick - known[0]) * time_base) for tick in known], known)
    step = _step(known, time_base, rate)
    if steady or not known:
        return Times([float(number * step * time_base) for number in range(len(ticks))], None)
    if len(known) == len(ticks) == len(set(known)) and descents > max(2, len(ticks) // SHUFFLED):
        values: list[Fraction] = [Fraction(tick) for tick in sorted(known)]
    else:
        values = _filled(_in_line(ticks, step), step)
    return Times([float((value - values[0]) * time_base) for value in values], None)


def _step(known: Sequence[int], time_base: Fraction, rate: Fraction | None) -> Fraction:
    """Ticks per frame."""
    if rate:
        return 1 / (Fraction(rate) * time_base)
    forward = [after - before for before, after in pairwise(known) if after > before]
    if not forward:
        raise VideoError("has neither usable times nor a frame rate")
    return Fraction(median(forward))


def _in_line(ticks: Sequence[int | None], step: Fraction) -> list[Fraction | None]:
    """The timestamps that can be kept, shifted where the clock was set back; None for the rest."""
    kept: list[Fraction | None] = [None] * len(ticks)
    line: list[int] = []  # indices of those kept so far
    offset = Fraction(0)
    skipped_until = 0
    for index, tick in enumerate(ticks):
        if tick is None or index < skipped_until:
            continue
        value = tick + offset
        last = kept[line[-1]] if line else None
        if last is not None and value <= last:
            behind = _run_behind(ticks, index, offset, last, step)
            ahead = _run_ahead(kept, line, value, step)
            if behind == ahead == 1 and not _fits_worse(kept, line, value, ticks, index, offset):
                behind = 0
            if behind and (not ahead or behind <= ahead):
                skipped_until = index + behind
                continue
            if ahead:
                for bad in line[-ahead:]:
                    kept[bad] = None
                del line[-ahead:]
            else:
                offset += last + step - value
                value = last + step
        kept[index] = value
        line.append(index)
    return kept


def _run_behind(
    ticks: Sequence[int | None], index: int, offset: Fraction, last: Fraction, step: Fraction
) -> int:
    """Count timestamps behind `last` from `index` on, until one follows it; 0 if none does."""
    run, inner, before = 0, 0, ticks[index]
    for tick in ticks[index + 1 : index + 1 + WINDOW]:
        run += 1
        if tick is None or before is None:
            continue
        if tick + offset > last:
            # A single one may precede any gap. Several must come back to where the clock would
            # be with a jump: else they are a clock of their own that has caught up.
            returns = tick + offset - last <= 2 * (run + 1) * step and tick - before > 2 * inner
            return run if run == 1 or returns else 0
        inner, before = max(inner, abs(tick - before)), tick
    # The video ends with it: one alone is a bad timestamp, not a clock of its own.
    return 1 if index == len(ticks) - 1 else 0


def _run_ahead(
    kept: Sequence[Fraction | None], line: Sequence[int], value: Fraction, step: Fraction
) -> int:
    """How many of the last kept timestamps ran ahead of `value`, which continues from before."""
    for run in range(1, min(WINDOW, len(line) - 1) + 1):
        before, first = kept[line[-run - 1]], kept[line[-run]]
        if before is None or first is None or before >= value:
            continue
        # Several must have jumped: else a joined stream overlaps the one before.
        return run if run == 1 or first - before > 2 * (run + 1) * step else 0
    return 0


def _fits_worse(
    kept: Sequence[Fraction | None],
    line: Sequence[int],
    value: Fraction,
    ticks: Sequence[int | None],
    index: int,
    offset: Fraction,
) -> bool:
    """Whether of the last timestamp and `value`, of which one is bad, it is rather `value`.

    The better one is nearer to a third, or two thirds, of the way between their neighbours.
    """
    before, last = kept[line[-2]], kept[line[-1]]
    after = ticks[index + 1] if index + 1 < len(ticks) else None
    if before is None or last is None or after is None:
        return True
    third = (after + offset - before) / 3
    return abs(last - before - third) <= abs(value - before - 2 * third)


def _filled(kept: Sequence[Fraction | None], step: Fraction) -> list[Fraction]:
    """Every frame's time: those that are None from their neighbours and the rate."""
    places = [index for index, value in enumerate(kept) if value is not None]
    values = [value for value in kept if value is not None]
    filled = [values[0] - step * (places[0] - index) for index in range(places[0])]
    for number, (place, value) in enumerate(zip(places, values, strict=True)):
        last = number + 1 == len(places)
        missing = (len(kept) if last else places[number + 1]) - place - 1
        gap = step
        if not last and value + missing * step >= values[number + 1]:
            gap = (values[number + 1] - value) / (missing + 1)
        filled += [value + gap * k for k in range(missing + 1)]
    return filled
