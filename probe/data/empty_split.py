"""What to do where a split has no clip: the commonest first error."""

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.split_names import SPELLINGS, meant_split


def empty_split(
    name: str, store: object, here: Sequence[ClipRow], split_file: str | None = None
) -> str:
    """Message for a split without a stored clip.

    Args:
        name: Of the split.
        store: Where the store is.
        here: The stored clips, splits normalised.
        split_file: The file that says which clip is in which split, in place of the store.
    """
    counts = Counter(row.split for row in here)
    named = {split: n for split, n in sorted(counts.items()) if split}
    place = split_file or store
    head = f"split {name!r} of {place} has no extracted clip"
    if not here:
        return f"{head}: the store is empty; run stepcli extract"
    if not named:
        if split_file is not None:
            return f"{head}: no clip of the store has a split in that file"
        return (
            f"no clip of {store} has a split; draw one with: "
            f"stepcli store labels --test-share 0.25 --store {store}"
        )
    found = ", ".join(f"{split} {n}" for split, n in named.items())
    if blank := counts[""]:
        found += f", without a split {blank}"
    head += f"; the store holds: {found}"
    mistyped = [split for split in named if meant_split(split) == name]
    if name in SPELLINGS and mistyped:
        return f"{head}; {mistyped[0]!r} looks like {name!r}: {_correct(split_file)}"
    if close := get_close_matches(name, named, n=1, cutoff=0.6):
        return f"{head}; did you mean {close[0]!r}? (--train-split, --test-split)"
    if name == "test" and "val" in named:
        return f"{head}; test on it with --test-split val, or {_correct(split_file)}"
    if name == "test" and list(named) == ["train"] and split_file is None:
        return (
            f"{head}; extract the test clips too, or move a share of the others: stepcli store "
            "labels --to clips.csv, change the column split, stepcli store labels --from clips.csv"
        )
    return f"{head}; extract more, choose --train-split and --test-split, or {_correct(split_file)}"


def _correct(split_file: str | None) -> str:
    if split_file is not None:
        return f"correct {split_file}"
    return (
        "correct the table: stepcli store labels --to clips.csv, change it, stepcli store labels "
        "--from clips.csv"
    )
