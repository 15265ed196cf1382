"""What comes next: for each action the last window that ends a horizon before it starts.

As in EPIC-KITCHENS' anticipation (arXiv 2006.13256): the observation ends `horizon` seconds before
the action's start, and the answer is that action's class.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.segments import BACKGROUND, by_recording
from stepcli.cache.schema.windows import split_window
from stepcli.probe.data.splits import LabelledClips
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted

if TYPE_CHECKING:
    from stepcli.cache.store.store import Store

TICK = 1e-6
"""Seconds: annotations are rounded."""


def before_actions(table: LabelledClips, store: "Store", horizon: float) -> LabelledClips:
    """The windows that actions are foretold from, each with the class of its action.

    A window represents one action: of several that it is the last window for, the one that starts
    first. Actions without a window that ends early enough are left out. Both are counted in a
    warning. A segment of background is no action.

    Args:
        table: of windows of recordings.
        store: with their segments and times.
        horizon: seconds from the end of the observation to the action's start.

    Raises:
        UsageError: the store has no segments, or no action of a side has such a window.
    """
    segments = by_recording([one for one in store.segments() if one.label != BACKGROUND])
    if not segments:
        raise UsageError(
            f"the store {store.path} has no segments of actions, so it is not known when actions "
            "start: give them with stepcli store labels --segments FILE"
        )
    rows = (*table.train, *table.test)
    ids = [row.id for row in rows]
    last = store.record_columns(ids).pts_seconds.max(axis=1)
    ends: dict[str, float] = dict(zip(ids, last.tolist(), strict=True))
    named = {segment.label for mine in segments.values() for segment in mine}
    late, shared, sides = 0, 0, []
    for name, side in (("train", table.train), ("test", table.test)):
        windows: dict[str, list[ClipRow]] = {}
        for row in side:
            windows.setdefault(split_window(row.id)[0], []).append(row)
        chosen: dict[str, ClipRow] = {}
        for recording, mine in windows.items():
            for segment in sorted(segments.get(recording, []), key=lambda one: one.start_seconds):
                last = _last(mine, ends, segment.start_seconds - horizon)
                if last is None:
                    late += 1
                elif last.id in chosen:
                    shared += 1
                else:
                    chosen[last.id] = replace(last, label=segment.label)
        if not chosen:
            raise UsageError(
                f"no action of {name} has a window that ends {horizon:g} s before it starts; take "
                "a smaller --horizon"
            )
        sides.append(tuple(chosen.values()))
    warnings = list(table.warnings)
    if late:
        warnings.append(
            f"{counted(late, 'action')} left out: no window ends {horizon:g} s before they start"
        )
    if shared:
        warnings.append(
            f"{counted(shared, 'action')} left out: their last window is that of an action that "
            "starts earlier; windows with a smaller stride tell them apart"
        )
    return replace(
        table,
        train=sides[0],
        test=sides[1],
        classes=tuple(dict.fromkeys((*(n for n in table.classes if n in named), *sorted(named)))),
        warnings=tuple(warnings),
    )


def _last(windows: Sequence[ClipRow], ends: dict[str, float], limit: float) -> ClipRow | None:
    """The window that ends last among those that end at `limit` or before."""
    fitting = [row for row in windows if ends[row.id] <= limit + TICK]
    return max(fitting, key=lambda row: (ends[row.id], row.id), default=None)
