"""Names of splits: one spelling for each of train, val and test, in both stages."""

from collections import Counter
from collections.abc import Iterable

from stepcli.cache.lists.words import counted, listed

SPELLINGS = {
    "train": ("train", "training", "tr"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing"),
}
"""Name of a split -> what lists call it; compared without case and surrounding white space."""
SHOWN = 6
"""Names in a message: spellings are few, but ids in a column of splits are not."""

_NAME_OF = {spelling: name for name, spellings in SPELLINGS.items() for spelling in spellings}


def normalise_split(text: str) -> str:
    """The name of a split as stores and probes use it: "Training " -> "train", "DEV" -> "val".

    Any other name comes back stripped, its case kept; "" stays "" (no split).
    """
    stripped = text.strip()
    return _NAME_OF.get(stripped.casefold(), stripped)


def split_notes(texts: Iterable[str], used: Iterable[str] = tuple(SPELLINGS)) -> list[str]:
    """Notes on the split cells of a list, given as written, one text per clip.

    Args:
        texts: the cells before `normalise_split`.
        used: names of splits that somebody trains or tests on.

    Returns:
        At most two lines: spellings that were normalised, and names that are not in `used`.
    """
    counts = Counter(texts)
    changed = {text: n for text, n in counts.items() if normalise_split(text) != text}
    notes = []
    # Blank cells become "": no split was meant, so nothing was read differently.
    if named := {text: n for text, n in changed.items() if text.strip()}:
        taken = [
            f"{text!r} as {normalise_split(text)!r} ({counted(n, 'clip')})"
            for text, n in sorted(named.items())
        ]
        notes.append(f"split names normalised: {listed(taken, SHOWN)}")
    names: Counter[str] = Counter()
    for text, n in counts.items():
        names[normalise_split(text)] += n
    known = {"", *map(normalise_split, used)}
    if unused := {name: n for name, n in sorted(names.items()) if name not in known}:
        shown = [f"{name!r} ({counted(n, 'clip')})" for name, n in unused.items()]
        notes.append(
            f"{counted(sum(unused.values()), 'clip')} in splits that are not trained or tested on "
            f"({', '.join(sorted(known - {''}))}): {listed(shown, SHOWN)}"
        )
    return notes
