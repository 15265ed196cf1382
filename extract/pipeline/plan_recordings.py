"""What `stepcli plan --windows` says of whole recordings: their windows, and the time they take."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stepcli.cache import create_store
from stepcli.cache.schema.windows import WindowRule, split_window, window_name, window_rule
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.grid import steps_in
from stepcli.extract.pipeline.clip_list import spread
from stepcli.extract.pipeline.prepare import Prepared
from stepcli.extract.pipeline.progress import ExtractionProgress
from stepcli.extract.pipeline.window_counts import recording_lengths, sparse, sparse_note
from stepcli.extract.pipeline.windows import extract_windows
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted, listed

FIRST_STEPS = 4
"""Of each recording in the first trial: a large model takes seconds per frame."""
FIRST_SECONDS = 30.0
"""Of each recording in the first trial at most, where steps are far apart."""
TRIAL_SECONDS = 8.0
"""By how much the last trial takes longer than the one before it."""
LONGER = 4
"""How many times as much of each recording the next trial reads."""


@dataclass(frozen=True, slots=True)
class Recordings:
    """What is known of recordings before they are read."""

    count: int
    """Without those that cannot be opened."""
    seconds: float
    """Length of all of them together."""
    windows: int
    frames: int
    """About how many the backbone sees: each once, however many windows hold it."""
    estimated: tuple[str, ...]
    """Ids of those whose files do not tell their length."""
    unreadable: Mapping[str, str]
    """Id of each that cannot be opened -> why."""
    sparse: Mapping[str, str] = field(default_factory=dict)
    """Id of each whose windows repeat most of its frames -> its frames and length."""

    def notes(self) -> list[str]:
        """Lines for people about recordings whose length is not known for certain."""
        notes = []
        if self.estimated:
            notes.append(
                f"note: {counted(len(self.estimated), 'recording')} ({listed(self.estimated)}) "
                "without a length in the file: estimated from its size and first packets"
            )
        if self.unreadable:
            reasons = listed(f"{one}: {reason}" for one, reason in self.unreadable.items())
            notes.append(
                f"note: {counted(len(self.unreadable), 'recording')} ({reasons}) not counted: "
                "extraction would quarantine them"
            )
        if self.sparse:
            notes.append(f"note: {sparse_note(self.sparse)}")
        return notes


class Survey:
    """The lengths of recordings, and how many windows and frames follow from them.

    Args:
        clips: the recordings, each of which is opened.
        sampling: of the store, a rule of windows.
        frames: T, of a window.

    Raises:
        UsageError: none of them can be opened.
    """

    def __init__(self, clips: Sequence[Clip], sampling: str, frames: int) -> None:
        rule = window_rule(sampling)
        assert rule is not None
        self._rule: WindowRule = rule
        self._lengths, unreadable = recording_lengths(clips)
        if not self._lengths:
            raise none_readable(len(clips), "recordings", unreadable.values())
        self.clips = [clip for clip in clips if clip.id in self._lengths]
        seconds = [length.seconds for length in self._lengths.values()]
        steps = [steps_in(length, rule.rate) for length in seconds]
        self.recordings = Recordings(
            count=len(self.clips),
            seconds=sum(seconds),
            windows=sum(len(rule.starts(count, frames)) for count in steps),
            frames=sum(map(self.frames_of, self._lengths)),
            estimated=tuple(one for one, length in self._lengths.items() if not length.told),
            unreadable=unreadable,
            sparse=sparse(self._lengths, rule.rate),
        )

    def frames_of(self, recording: str, until: float = float("inf")) -> int:
        """Frames of a recording that steps show, about: two steps may show the same.

        Args:
            recording: its id.
            until: seconds since its first frame.
        """
        length = self._lengths[recording]
        seconds = min(until, length.seconds)
        share = seconds / length.seconds if length.seconds else 1.0
        return max(1, min(steps_in(seconds, self._rule.rate), round(share * length.frames)))

    def extraction_seconds(self, prepared: Prepared, count: int) -> float:
        """Extract the first seconds of some recordings, and multiply.

        Trials get longer until one takes `TRIAL_SECONDS` more than the one before. That difference
        is the time of frames alone; the rest, e.g. the start of decoders, counts per recording.

        Args:
            prepared: the run, settled.
            count: of recordings to try; more where otherwise a worker would have none.

        Raises:
            UsageError: none of them can be read.
        """
        workers = prepared.resources.workers
        tried = spread(self.clips, -(-max(count, workers) // workers) * workers)
        longest = max(self._lengths[clip.id].seconds for clip in tried)
        step = float(1 / self._rule.rate)
        until = max(step, min(FIRST_STEPS * step, FIRST_SECONDS))
        _trial(prepared, tried[:1], until)  # the device and the libraries start
        before, earlier = 0.0, 0
        while True:
            seconds, stored = _trial(prepared, tried, until)
            frames = sum(self.frames_of(one, until) for one in stored)
            if seconds - before >= TRIAL_SECONDS or until >= longest:
                break
            before, earlier, until = seconds, frames, until * LONGER
        each = seconds / frames
        if seconds > before and frames > earlier:
            each = min(each, (seconds - before) / (frames - earlier))
        start = (seconds - each * frames) / len(stored)
        return start * len(self.clips) + each * self.recordings.frames


def _trial(prepared: Prepared, clips: Sequence[Clip], until: float) -> tuple[float, set[str]]:
    """Extract the first seconds of recordings: how long it took, and the ids of those stored.

    Raises:
        UsageError: none of them can be read.
    """
    cut = [replace(clip, end_seconds=until, views=(window_name(0),)) for clip in clips]
    with tempfile.TemporaryDirectory() as place, ExtractionProgress(len(cut), 0) as progress:
        store = create_store(Path(place) / "trial", prepared.spec, dataset="plan")
        spent = extract_windows(cut, store, prepared, progress)
        store.refresh()
        stored = {split_window(one)[0] for one in store.ids}
        if not stored:
            reasons = [failure.message for failure in store.quarantined().values()]
            raise none_readable(len(clips), "recordings", reasons)
    return spent.total, stored


def none_readable(count: int, noun: str, reasons: Iterable[str]) -> UsageError:
    """The error of a trial on videos nobody can read; `noun`: clips or recordings."""
    return UsageError(
        f"none of {count} {noun} tried could be read ({'; '.join(sorted(set(reasons)))}); "
        "fix the data set first"
    )
