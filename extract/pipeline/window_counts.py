"""How many windows recordings give, from their lengths, before one of them is decoded."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import mean, stdev

from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.schema.windows import window_name, window_rule
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.grid import steps_in
from stepcli.extract.decode.isolated import recording_length
from stepcli.extract.decode.length import Length
from stepcli.extract.pipeline.space import Amount
from stepcli.runtime.errors import VideoError
from stepcli.runtime.progress import Progress, duration
from stepcli.runtime.words import counted, listed

SAMPLE = 200
"""Recordings opened of a longer list: about two seconds, on a disk of a network more."""
STANDARD_ERRORS = 2.0
"""Between an estimate and its lower bound."""
REPEATED = 10
"""Steps per frame from where on a recording is `sparse`."""
SEED = 0
"""Of the sample: the same list gives the same numbers."""


def recording_lengths(clips: Sequence[Clip]) -> tuple[dict[str, Length], dict[str, str]]:
    """Open recordings for their lengths.

    Returns:
        Id -> length; and id -> reason of those that cannot be opened.
    """
    lengths: dict[str, Length] = {}
    unreadable: dict[str, str] = {}
    with Progress("recording", len(clips)) as progress:
        for clip in clips:
            try:
                lengths[clip.id] = recording_length(clip.path, clip.frames_per_second)
            except VideoError as error:
                unreadable[clip.id] = str(error)
            progress.advance()
    return lengths, unreadable


def sparse(lengths: Mapping[str, Length], rate: Fraction) -> dict[str, str]:
    """Recordings whose windows repeat most of their frames, e.g. after a clock that jumped.

    Args:
        lengths: by id.
        rate: steps per second.

    Returns:
        Id -> what it has, e.g. "40 frames in 1 h 00 min".
    """
    return {
        one: f"{counted(length.frames, 'frame')} in {duration(length.seconds)}"
        for one, length in lengths.items()
        if steps_in(length.seconds, rate) > REPEATED * length.frames
    }


def sparse_note(found: Mapping[str, str]) -> str:
    """A line on what `sparse` found; "" where it found none."""
    if not found:
        return ""
    named = listed(f"{one}: {what}" for one, what in found.items())
    return (
        f"{counted(len(found), 'recording')} ({named}) with less than one frame per {REPEATED} "
        "steps of the windows, which repeat frames; check whether timestamps jump"
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """What the file of a recording tells."""

    windows: int
    is_estimate: bool
    """Whether its end is not told."""

    @property
    def at_least(self) -> int:
        """Windows that it has for certain."""
        return 1 if self.is_estimate else self.windows


class WindowCounts:
    """Expected windows of recordings; each is opened once at most, and `SAMPLE` of a long list.

    Args:
        spec: of a store of windows.
    """

    def __init__(self, spec: StoreSpec) -> None:
        rule = window_rule(spec.sampling)
        assert rule is not None
        self._rule, self._frames = rule, spec.frames
        self._known: dict[str, _Measured] = {}
        self._sparse: dict[str, str] = {}

    @property
    def note(self) -> str:
        """On the recordings opened so far whose windows repeat frames; else ""."""
        return sparse_note(self._sparse)

    def expected(
        self, left: Sequence[Clip], share: Sequence[Clip] | None = None
    ) -> tuple[Amount, Mapping[str, int]]:
        """How much a run will store.

        Args:
            left: recordings with their missing windows as views, as far as those are known.
            share: the same recordings and others with all of their windows; None: of none of `left`
                a window is stored yet.

        Returns:
            The windows of all of `left`, and of each recording by its id.
        """
        first = (window_name(0),)
        known = {clip.id for clip in share or () if clip.views != first}
        unknown = [clip for clip in left if clip.id not in known]
        each = {clip.id: len(clip.views) for clip in left if clip.id in known}
        stored_before = sum(each.values())
        tried = self._sample(unknown)
        found = [self._known[clip.id] for clip in tried]
        if not found:
            return Amount(stored_before, noun="window"), each
        usual = mean(one.windows for one in found)
        each |= {
            clip.id: self._known[clip.id].windows if clip.id in self._known else round(usual)
            for clip in unknown
        }
        lowest = [one.at_least for one in found]
        least = mean(lowest)
        if len(tried) < len(unknown):
            missed = 1 - len(tried) / len(unknown)
            least -= STANDARD_ERRORS * stdev(lowest) * (missed / len(tried)) ** 0.5
        bound = max(0, int(len(unknown) * least + 0.5))
        return Amount(
            stored_before + round(usual * len(unknown)),
            at_least=stored_before + bound,
            noun="window",
            basis=self._basis(tried, unknown),
        ), each

    def _basis(self, tried: Sequence[Clip], unknown: Sequence[Clip]) -> str:
        """What an estimate is made from; "" where each recording tells its length."""
        if len(tried) < len(unknown):
            return f"estimated from the lengths of {len(tried):,} recordings"
        untold = [
            one for one in map(self._known.__getitem__, (c.id for c in tried)) if one.is_estimate
        ]
        if not untold:
            return ""
        return f"{counted(len(untold), 'recording')} without a length in the file"

    def _sample(self, unknown: Sequence[Clip]) -> Sequence[Clip]:
        """Recordings whose windows are counted afterwards: all, or some of them."""
        if len(unknown) > SAMPLE:
            unknown = random.Random(SEED).sample(unknown, SAMPLE)
        new = [clip for clip in unknown if clip.id not in self._known]
        lengths, _ = recording_lengths(new) if new else ({}, {})
        self._sparse |= sparse(lengths, self._rule.rate)
        for clip in new:
            self._known[clip.id] = self._measured(lengths.get(clip.id))
        return unknown

    def _measured(self, length: Length | None) -> _Measured:
        if length is None:  # will be quarantined
            return _Measured(0, is_estimate=False)
        steps = steps_in(length.seconds, self._rule.rate)
        windows = len(self._rule.starts(steps, self._frames))
        return _Measured(windows, is_estimate=not length.told)
