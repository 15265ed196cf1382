"""Whether a recipe's data are here: lists, splits and videos, before anything is extracted."""

from collections.abc import Sequence
from pathlib import Path

from stepcli.apply.reproduction.recipe import Recipe
from stepcli.cache.schema.official_splits import parse_official
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.datasets.registry import find_dataset, load_dataset, root_of
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted


def check_layout(recipe: Recipe, given: Path | None) -> tuple[Path, str]:
    """The data set's root and a line that says what was found there.

    Args:
        recipe: Which.
        given: The root; None: STEPCLI_DATA/<data set>.

    Raises:
        MissingData: files of the data set are not there; lists those found and those missing.
        UsageError: no root, no clips to train or test on, or no video at all.
    """
    root = root_of(find_dataset(recipe.dataset), given)
    dataset = load_dataset(recipe.dataset, root, recipe.options)
    for split in (recipe.train_split, recipe.test_split):
        if not any(split in _splits(clip) for clip in dataset.clips):
            hint = recipe.without_test if split == recipe.test_split else ""
            raise UsageError(
                f"{recipe.dataset}: no clips of the split {split!r} below {root}"
                + (f"; {hint}" if hint else "")
            )
    places = {clip.path for clip in dataset.clips}
    missing = sorted(str(path) for path in places if not path.exists())
    if len(missing) == len(places):
        raise UsageError(
            f"{recipe.dataset}: none of {counted(len(places), 'video')} is there, e.g. "
            f"{missing[0]}; `stepcli datasets show {recipe.dataset}` prints the expected layout"
        )
    found = f"{counted(len(dataset.clips), 'clip')} of {counted(len(places), 'video')}"
    return root, found + _missing(missing)


def _splits(clip: Clip) -> set[str]:
    return set(parse_official(clip.split).values()) or {clip.split}


def _missing(paths: Sequence[str]) -> str:
    if not paths:
        return ", all there"
    return (
        f"; {counted(len(paths), 'video')} missing, e.g. {paths[0]}: the numbers will be of the "
        "clips that are there"
    )
