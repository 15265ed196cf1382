"""Names of splits: one spelling for each of train, val and test, in both stages."""

from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches

from stepcli.runtime.words import counted, listed

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


def split_notes(texts: Iterable[str]) -> list[str]:
    """At most one line: which spellings in a list's split cells were normalised to what.

    Args:
        texts: the cells before `normalise_split`, one per clip.
    """
    counts = Counter(texts)
    # Blank cells become "": no split was meant, so nothing was read differently.
    taken = [
        f"{text!r} as {normalise_split(text)!r} ({counted(n, 'clip')})"
        for text, n in sorted(counts.items())
        if normalise_split(text) != text and text.strip()
    ]
    return [f"split names normalised: {listed(taken, SHOWN)}"] if taken else []


def unused_splits(texts: Iterable[str], used: Iterable[str] = ()) -> str | None:
    """A warning that names the splits that no probe trains or tests on, or None.

    Args:
        texts: split cells, one per clip; blank ones are clips without a split.
        used: splits that are trained or tested on, besides train, val and test.
    """
    known = {"", *SPELLINGS, *map(normalise_split, used)}
    texts = [text for text in texts if "=" not in text]  # official splits: trained on by --split
    names = Counter(map(normalise_split, texts))
    unused = {name: n for name, n in sorted(names.items()) if name not in known}
    if not unused:
        return None
    shown = listed((f"{name!r} ({counted(n, 'clip')})" for name, n in unused.items()), SHOWN)
    count = counted(sum(unused.values()), "clip")
    meant = {name: other for name in unused if (other := meant_split(name))}
    typos = "; ".join(f"{name!r} looks like {other!r}" for name, other in meant.items())
    hint = f" ({typos})" if typos else ""
    return f"{count} in splits that are not trained or tested on: {shown}{hint}"


def meant_split(name: str) -> str:
    """train, val or test where a name looks like a misspelling of it: "tset" -> "test"; else ""."""
    if normalise_split(name) in SPELLINGS or any(c.isdigit() for c in name):
        return ""  # train1 and train2 are names of their own
    close = get_close_matches(name.casefold(), [*_NAME_OF], n=1, cutoff=0.75)
    return _NAME_OF[close[0]] if close else ""
