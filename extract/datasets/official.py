"""The official splits of a data set, gathered from its lists."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from stepcli.cache.schema.official_splits import official_cell
from stepcli.extract.datasets.clip import Clip
from stepcli.runtime.errors import UsageError


def splits_here(
    asked: str, every: Sequence[str], there: Callable[[str], bool]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which splits to read, and notes on those whose lists are missing.

    Args:
        asked: Value of the option split: "all", or one.
        every: Splits that the data set has.
        there: Whether a list of a split is on the disk.
    """
    if asked != "all":
        return (asked,), ()
    found = tuple(name for name in every if there(name))
    if not found or found == tuple(every):
        return found or tuple(every[:1]), ()  # of none, the checklist names the first
    absent = ", ".join(name for name in every if name not in found)
    return found, (f"official splits: {', '.join(found)}; the lists of {absent} are not here",)


class OfficialSplits:
    """What each clip is in each split.

    Args:
        numbers: Of the splits; with a single one, clips have that split alone.
    """

    def __init__(self, numbers: Sequence[str]) -> None:
        self._numbers = tuple(numbers)
        self._of: dict[str, dict[str, str]] = {}

    def add(self, number: str, clip: str, split: str, file: Path) -> None:
        """Note what a clip is in one split: "train", "val", "test", or "" for not used.

        Raises:
            UsageError: the lists of that split name the clip twice.
        """
        known = self._of.setdefault(clip, {})
        if number in known:
            raise UsageError(
                f"{file}: {clip} appears twice in the lists of split {number}; give each clip one "
                "line"
            )
        known[number] = split

    def of(self, clips: Iterable[Clip]) -> tuple[Clip, ...]:
        """The clips with their splits."""
        return tuple(replace(clip, split=self._cell(clip.id)) for clip in clips)

    def _cell(self, clip: str) -> str:
        if len(self._numbers) == 1:
            return self._of[clip][self._numbers[0]]
        return official_cell(self._of[clip])
