"""Counts and examples in messages: "1 clip", "2 clips", "a, b, c and 9 more"."""

import re
from collections.abc import Iterable


def counted(count: int, thing: str, plural: str = "") -> str:
    """A count with its noun: "1 clip", "2 clips", "2 classes" with plural="classes"."""
    return f"{count:,} {thing if count == 1 else plural or thing + 's'}"


def are(count: int) -> str:
    """The verb after a count: "1 clip is", "2 clips are"."""
    return "is" if count == 1 else "are"


def sized(count: float) -> str:
    """A number of bytes for people: "5.2 MB"; GB and TB only where MB would be many digits."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e5, "MB"), (1e3, "kB")):
        if count >= limit:
            scale = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}[unit]
            return f"{count / scale:.1f} {unit}"
    return counted(int(count), "byte")


def listed(items: Iterable[object], shown: int = 3) -> str:
    """At most `shown` of the items, and how many more there are."""
    texts = [str(item) for item in items]
    more = len(texts) - shown
    return ", ".join(texts[:shown]) + (f" and {more:,} more" if more > 0 else "")


def natural_order(text: str) -> list[tuple[bool, int, str]]:
    """A key that sorts numbers within texts by value: s2 is before s10."""
    parts = re.split(r"([0-9]+)", text)  # text and numbers in turns
    return [(bool(k % 2), int(part) if k % 2 else 0, part) for k, part in enumerate(parts)]


def split_list(text: str) -> list[str]:
    """The items of a list given with commas or spaces: "a,b", "a b" and "a, b" alike."""
    return text.replace(",", " ").split()
