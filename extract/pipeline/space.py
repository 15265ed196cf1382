"""Whether the tokens of a run fit beside what is there, before the first of them is made."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage.path import Location
from stepcli.cache.storage.places import place_of
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import sized


@dataclass(frozen=True, slots=True)
class Need:
    """What one store is about to take up."""

    place: Location
    """Of the store, which may not be there yet."""
    spec: StoreSpec
    clips: int
    """Or views of clips: ids to be stored."""

    @property
    def size(self) -> int:
        """Bytes of their tokens."""
        return self.clips * sum(array.clip_bytes for array in part_layout(self.spec).arrays)


def require_space(needs: Sequence[Need]) -> None:
    """Refuse clips that do not fit; those of several stores on one disk are added up.

    Raises:
        UsageError: with what is needed and free, and what would help.
    """
    disks: dict[int, list[tuple[Need, Path]]] = {}
    for need in needs:
        place = place_of(need.place)
        if isinstance(place, Path):  # object storage has no limit to ask for
            there = next(each for each in (place, *place.absolute().parents) if each.exists())
            disks.setdefault(there.stat().st_dev, []).append((need, there))
    for found in disks.values():
        free = shutil.disk_usage(found[0][1]).free
        needed = sum(need.size for need, _ in found)
        if needed > free:
            clips = max(need.clips for need, _ in found)
            places = " and ".join(dict.fromkeys(str(need.place) for need, _ in found))
            raise UsageError(
                f"{clips} clips need {sized(needed)} in {places}, where {sized(free)} are free; "
                "ask for fewer tokens (--tokens grid2 or cls), or give a --store elsewhere"
            )
