"""Whether the tokens of a run fit beside what is there, before the first of them is made."""

from collections.abc import Sequence
from dataclasses import dataclass

from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.spec import StoreSpec
from stepcli.cache.storage.path import Location
from stepcli.cache.storage.places import place_of
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import nearest_existing
from stepcli.runtime.words import counted, sized


@dataclass(frozen=True, slots=True)
class Amount:
    """How much a run will store, as far as it is known before it."""

    ids: int
    """Clips, views of clips or windows; an estimate where `basis` says what it is made from."""
    at_least: int | None = None
    """Lower bound of an estimate."""
    noun: str = "clip"
    basis: str = ""

    def __str__(self) -> str:
        if not self.basis:
            return counted(self.ids, self.noun)
        return f"about {counted(int(float(f'{self.ids:.3g}')), self.noun)}"

    @property
    def remark(self) -> str:
        """What an estimate is made from, in brackets; "" for a number that is certain."""
        return f" ({self.basis})" if self.basis else ""


@dataclass(frozen=True, slots=True)
class Need:
    """What one store is about to take up."""

    place: Location
    """Of the store, which may not be there yet."""
    spec: StoreSpec
    amount: Amount

    @property
    def size(self) -> int:
        """Bytes of the tokens."""
        return self.amount.ids * part_layout(self.spec).clip_bytes

    @property
    def least_size(self) -> int:
        """Bytes that they take at least, where `size` is an estimate."""
        least = self.amount.ids if self.amount.at_least is None else self.amount.at_least
        return least * part_layout(self.spec).clip_bytes


def require_space(needs: Sequence[Need]) -> list[str]:
    """Refuse what does not fit; what goes to several stores on one disk is added up.

    Returns:
        A warning for each disk on which it may not fit, by an estimate that is not certain.

    Raises:
        UsageError: with what is needed and free, and what would help.
    """
    warnings = []
    disks: dict[int, list[Need]] = {}
    for need in needs:
        local = place_of(need.place).local
        if local is not None:  # object storage has no limit to ask for
            disks.setdefault(nearest_existing(local).stat().st_dev, []).append(need)
    for found in disks.values():
        free = place_of(found[0].place).free_bytes()
        needed = sum(need.size for need in found)
        if free is None or needed <= free:
            continue
        largest = max((need.amount for need in found), key=lambda amount: amount.ids)
        places = " and ".join(dict.fromkeys(str(need.place) for need in found))
        verb = "need" if largest.ids != 1 else "needs"
        about = "about " if largest.basis else ""
        what = (
            f"{largest}{largest.remark} {verb} {about}{sized(needed)} in {places}, where "
            f"{sized(free)} are free"
        )
        if sum(need.least_size for need in found) <= free:
            warnings.append(f"{what}; when the disk is full, the run ends and keeps what it stored")
            continue
        apart = "" if largest.noun != "window" else ", windows farther apart"
        raise UsageError(
            f"{what}; ask for fewer tokens (--tokens grid2 or cls){apart}, or give a --store "
            "elsewhere"
        )
    return warnings
