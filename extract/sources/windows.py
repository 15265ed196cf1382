"""Which windows of recordings are known before a run: those that a store tells of."""

from collections.abc import Sequence
from dataclasses import replace

from stepcli.cache.schema.windows import split_steps, split_window, window_name, window_rule
from stepcli.cache.store.origins import origins_of
from stepcli.cache.store.store import Store
from stepcli.extract.datasets.clip import Clip


def with_windows(store: Store, recordings: Sequence[Clip]) -> tuple[Clip, ...]:
    """The recordings, each with its windows as views.

    How many there are is known of recordings of which a window is stored. Of the others only the
    first is named: their length is not known before they are read.

    Args:
        store: of windows, as refreshed last.
        recordings: of the list.
    """
    rule = window_rule(store.spec.sampling)
    if rule is None:
        raise ValueError(f"{store.path} is no store of windows")
    steps: dict[str, int] = {}
    for stored_id, origin in origins_of(store).items():
        recording, number = split_window(stored_id)
        place = split_steps(origin.segment)[1]
        if number is not None and place is not None:
            steps[recording] = place[1]
    names: dict[int, tuple[str, ...]] = {}

    def views(recording: str) -> tuple[str, ...]:
        if recording not in steps:
            return (window_name(0),)
        count = len(rule.starts(steps[recording], store.spec.frames))
        return names.setdefault(count, tuple(map(window_name, range(count))))

    return tuple(replace(clip, views=views(clip.id)) for clip in recordings)
