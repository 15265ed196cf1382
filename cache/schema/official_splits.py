"""Several official splits of one data set, in the one column that a clips table has for splits.

UCF101, HMDB51 and Drive&Act publish three divisions of their clips into train and test, and papers
report the mean. A cell says what a clip is in each: "split1=train split2=test split3=train"; a
split that does not use the clip is left out.
"""

import re
from collections.abc import Iterable, Mapping

from stepcli.cache.schema.split_names import normalise_split
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import natural_order

_ITEM = re.compile(r"split(\w+)=(\S+)")


def official_cell(splits: Mapping[str, str]) -> str:
    """The cell of a clip.

    Args:
        splits: Name of each official split, e.g. "1" -> train, val or test; empty: not used.
    """
    names = sorted((name for name, split in splits.items() if split), key=natural_order)
    return " ".join(f"split{name}={splits[name]}" for name in names)


def parse_official(cell: str) -> dict[str, str]:
    """Name of each official split -> what the clip is there; {} for a cell of a plain split."""
    found = [_ITEM.fullmatch(item) for item in cell.split()]
    if not all(found):
        return {}
    return {match[1]: normalise_split(match[2]) for match in found if match is not None}


def official_names(cells: Iterable[str]) -> tuple[str, ...]:
    """Names of the official splits in a column, in natural order; () where there are none."""
    names = {name for cell in set(cells) for name in parse_official(cell)}
    return tuple(sorted(names, key=natural_order))


def split_in(cell: str, name: str | None) -> str:
    """What a clip is in one official split; of a plain cell the normalised split itself."""
    official = parse_official(cell)
    return official.get(name or "", "") if official else normalise_split(cell)


def chosen_splits(asked: str | None, names: tuple[str, ...]) -> tuple[str | None, ...]:
    """Which official splits a user means.

    Args:
        asked: "1,2,3", "all", or None: the first.
        names: Those of the store; () where it has none.

    Raises:
        UsageError: the store has none, or not that one.
    """
    if asked is None:
        return names[:1] or (None,)
    if not names:
        raise UsageError(
            f"--split {asked}: the store has no official splits; leave --split out, or give "
            "--split-file FILE"
        )
    chosen = names if asked == "all" else tuple(dict.fromkeys(asked.replace(",", " ").split()))
    for name in chosen:
        if name not in names:
            raise UsageError(
                f"--split {name}: the store has the official splits {', '.join(names)}"
            )
    return chosen
