"""Whether the tokens of a run fit beside what is there, before the first of them is made."""

from collections.abc import Sequence
from dataclasses import dataclass

from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage.path import Location
from stepcli.cache.storage.places import place_of
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import nearest_existing
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
        return self.clips * part_layout(self.spec).clip_bytes


def require_space(needs: Sequence[Need]) -> None:
    """Refuse clips that do not fit; those of several stores on one disk are added up.

    Raises:
        UsageError: with what is needed and free, and what would help.
    """
    disks: dict[int, list[Need]] = {}
    for need in needs:
        local = place_of(need.place).local
        if local is not None:  # object storage has no limit to ask for
            disks.setdefault(nearest_existing(local).stat().st_dev, []).append(need)
    for found in disks.values():
        free = place_of(found[0].place).free_bytes()
        needed = sum(need.size for need in found)
        if free is not None and needed > free:
            clips = max(need.clips for need in found)
            places = " and ".join(dict.fromkeys(str(need.place) for need in found))
            raise UsageError(
                f"{clips} clips need {sized(needed)} in {places}, where {sized(free)} are free; "
                "ask for fewer tokens (--tokens grid2 or cls), or give a --store elsewhere"
            )
