"""What is left of a data set to extract: neither stored nor quarantined, or stored and outdated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stepcli.cache.maintenance.origins import clip_generation
from stepcli.cache.schema.clips import Failure
from stepcli.cache.store.store import Store
from stepcli.cache.tables.failures import read_failures
from stepcli.extract.datasets.clip import Clip


@dataclass(frozen=True, slots=True)
class Todo:
    """What is left of a data set: done + quarantined + left = data set, always.

    Counted by what is stored: a clip of three views counts three times.
    """

    done: tuple[str, ...]
    """Stored ids."""
    quarantined: tuple[Failure, ...]
    left: tuple[Clip, ...]
    """Each with those of its views that are left."""

    @property
    def left_count(self) -> int:
        """Stored ids that are left."""
        return sum(len(clip.stored_ids) for clip in self.left)


@dataclass(frozen=True, slots=True)
class Redo:
    """Stored clips that are extracted again, because their sources have changed."""

    ids: frozenset[str]
    generation: int
    """Of the parts with their new tokens; older parts hold lower ones."""
    attempts: Mapping[str, int]
    """How often each had failed before."""

    def is_done(self, store: Store, stored_id: str) -> bool:
        """Whether the store holds new tokens of a clip, or those that it has may stay."""
        return stored_id not in self.ids or clip_generation(store, stored_id) >= self.generation


def what_is_left(
    store: Store, clips: Sequence[Clip], *, retry: bool = False, redo: Redo | None = None
) -> Todo:
    """Divide a data set's clips by what the store says of them.

    Args:
        store: as refreshed last.
        clips: with their views.
        retry: count what is quarantined as left.
        redo: clips whose stored tokens do not count.
    """
    failures = store.quarantined()
    if redo is not None:
        failures |= {
            clip: failure
            for clip, failure in read_failures(store.path).items()
            if clip in redo.ids and failure.attempt > redo.attempts.get(clip, 0)
        }
    done: list[str] = []
    quarantined: list[Failure] = []
    left: list[Clip] = []
    for clip in clips:
        missing = []
        for stored_id, view in zip(clip.stored_ids, clip.views or ("",), strict=True):
            if stored_id in store and (redo is None or redo.is_done(store, stored_id)):
                done.append(stored_id)
            elif stored_id in failures and not retry:
                quarantined.append(failures[stored_id])
            else:
                missing.append(view)
        if missing:
            left.append(replace(clip, views=tuple(missing)) if clip.views else clip)
    return Todo(tuple(done), tuple(quarantined), tuple(left))
