"""Names of classes and groups that look alike: "Open" and "open", "é" typed in two ways.

macOS writes the names of files decomposed (NFD: a letter and its accent are two characters), where
keyboards type them composed (NFC); both look the same and compare as different.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

from stepcli.runtime.words import counted, listed

_SEPARATORS = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")
_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)|(?<=\d)\.0+(?![\d.])")
"""What spreadsheets and pandas drop or add: 007 and 7, 7.0 and 7."""
SHOWN = 3


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC): as most programs write it."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def alike(names: Iterable[str]) -> list[list[str]]:
    """Sets of different names that differ only in case, Unicode form, blanks at the ends,
    characters without width, in blanks, hyphens and underscores between words, or in zeros that do
    not change a number (07, 7.0); sorted."""
    by_key: dict[str, set[str]] = defaultdict(set)
    for name in names:
        by_key[_key(name)].add(name)
    return sorted(sorted(found) for found in by_key.values() if len(found) > 1)


def alike_warning(names: Iterable[str], thing: str) -> str | None:
    """A warning about names that are probably meant to be one, or None.

    Args:
        names: one per clip; blank ones do not count.
        thing: what they name: "label" or "group".
    """
    counts = Counter(name for name in names if name.strip())
    found = alike(counts)
    if not found:
        return None
    sets = listed(" and ".join(_shown(name, counts[name]) for name in s[:SHOWN]) for s in found)
    return (
        f"{thing}s that look alike count as different ones: {sets}; if they are one, correct them "
        "in the list, or with stepcli store labels --from"
    )


def _key(name: str) -> str:
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
        name = "".join(c for c in name if unicodedata.category(c) != "Cf")
    return _ZEROS.sub("", _SEPARATORS.sub(" ", name.strip())).casefold()


def _shown(name: str, clips: int) -> str:
    """A name that can be told from those that look the same, and its number of clips."""
    odd = name != composed(name) or any(unicodedata.category(c) == "Cf" for c in name)
    return f"{ascii(name) if odd else repr(name)} ({counted(clips, 'clip')})"
