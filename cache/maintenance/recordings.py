"""The recordings whose windows a store holds, each step once and in order of time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepcli.cache.schema.clips import Source
from stepcli.cache.schema.windows import WindowRule, split_steps, split_window, window_rule
from stepcli.cache.store.origins import origins_of
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import UsageError

READ_WINDOWS = 64
"""Windows read from the store at once."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a store holds of one recording."""

    id: str
    steps: int
    """N, on the grid of the store's rate."""
    windows: tuple[tuple[str, int], ...]
    """Stored id and first step of each window, in order."""
    missing: int
    """Windows that are not stored."""
    source: Source


def require_rule(store: Store) -> WindowRule:
    """How the recordings of a store were cut.

    Raises:
        UsageError: it is a store of clips.
    """
    rule = window_rule(store.spec.sampling)
    if rule is None:
        raise UsageError(
            f"the store {store.path} holds clips, not windows of recordings; make one with stepcli "
            "extract --windows 16@4fps"
        )
    return rule


def recordings_of(store: Store) -> list[Recording]:
    """The recordings of a store of windows, by id.

    Raises:
        UsageError: it is a store of clips.
        DamagedStore: a window without its place in the recording.
    """
    rule, length = require_rule(store), store.spec.frames
    found: dict[str, list[tuple[int, str, int]]] = {}
    facts: dict[str, tuple[int, Source]] = {}
    for stored_id, origin in origins_of(store).items():
        recording, number = split_window(stored_id)
        place = split_steps(origin.segment)[1]
        if number is not None and place is not None:
            found.setdefault(recording, []).append((number, stored_id, place[0]))
            facts[recording] = (place[1], origin)
    recordings = []
    for recording in sorted(found):
        steps, source = facts[recording]
        windows = tuple((stored_id, start) for _, stored_id, start in sorted(found[recording]))
        missing = len(rule.starts(steps, length)) - len(windows)
        recordings.append(Recording(recording, steps, windows, missing, source))
    return recordings


def step_seconds(store: Store, recording: Recording) -> NDArray[np.float64]:
    """When the frame of each step is shown, [N] seconds since the first frame; NaN for steps of
    windows that are not stored."""
    seconds = np.full(recording.steps, np.nan)
    records = store.records([stored_id for stored_id, _ in recording.windows])
    for record, (_, start) in zip(records, recording.windows, strict=True):
        count = min(store.spec.frames, recording.steps - start)
        seconds[start : start + count] = record.pts_seconds[:count]
    return seconds


def step_tokens(store: Store, recording: Recording) -> Iterator[NDArray[np.float32]]:
    """The tokens of a recording's steps, each once, in order of time.

    Args:
        store: of windows.
        recording: with all of its windows.

    Yields:
        [n, S, D] float32, or [n, L, S, D] where several layers are stored.
    """
    done, length = 0, store.spec.frames
    for some in _groups(recording.windows):
        tokens = store.read_floats([stored_id for stored_id, _ in some])
        if len(store.spec.layers) > 1:
            tokens = tokens.swapaxes(1, 2)
        for (_, start), window in zip(some, tokens, strict=True):
            end = min(start + length, recording.steps)
            if end > done:
                yield window[done - start : end - start]
                done = end


def _groups(
    windows: Sequence[tuple[str, int]],
) -> Iterator[Sequence[tuple[str, int]]]:
    for first in range(0, len(windows), READ_WINDOWS):
        yield windows[first : first + READ_WINDOWS]
