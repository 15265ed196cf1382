"""Groups of clips that stay on one side of a split: given by users, united over copies."""

from collections.abc import Iterable, Sequence

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.views import clip_of
from stepcli.runtime.words import counted, listed


def given_key(row: ClipRow) -> str:
    """The group of a row as the clips table has it; a clip without one is its own, views included.

    The prefix keeps a clip apart from another clip's group of the same name.
    """
    return f"group {group}" if (group := row.group.strip()) else f"clip {clip_of(row.id)}"


def group_keys(rows: Sequence[ClipRow], copies: Iterable[Sequence[str]] = ()) -> list[str]:
    """One key per row, equal for rows that splits, slices and intervals must treat as one.

    Groups are united where a clip of one is a copy of a clip of another, over any number of steps.

    Args:
        rows: lines of the clips table.
        copies: sets of clip ids without views, as `cache.care.duplicates` finds them; clips that
            are not among the rows are ignored.
    """
    keys = [given_key(row) for row in rows]
    sets = list(copies)
    if not sets:
        return keys
    key_of = {clip_of(row.id): key for row, key in zip(rows, keys, strict=True)}
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        path = []
        while (above := parents.get(key, key)) != key:
            path.append(key)
            key = above
        parents.update(dict.fromkeys(path, key))
        return key

    for members in sets:
        roots = sorted({root(key_of[clip]) for clip in members if clip in key_of}, key=_rank)
        parents.update(dict.fromkeys(roots[1:], roots[0]) if roots else {})
    return [root(key) for key in keys]


def _rank(key: str) -> tuple[bool, str]:
    """The order in which a united group takes its name: given groups first, then by name."""
    return not key.startswith("group "), key


def joined_groups(rows: Sequence[ClipRow], keys: Sequence[str]) -> str | None:
    """A note on given groups that copies join, or None: their clips cannot be told apart by split.

    Args:
        rows: lines of the clips table.
        keys: `group_keys` of them.
    """
    members: dict[str, set[str]] = {}
    for row, key in zip(rows, keys, strict=True):
        if row.group.strip():
            members.setdefault(key, set()).add(row.group.strip())
    joined = [sorted(groups) for groups in members.values() if len(groups) > 1]
    if not joined:
        return None
    return (
        f"copies join {counted(sum(map(len, joined)), 'group')} into {len(joined):,} "
        f"({listed(' + '.join(groups[:3]) for groups in joined)}), which slices and intervals "
        "treat as one; leave such clips without a split to keep the groups apart: stepcli store "
        "duplicates"
    )


def plain_names(keys: Sequence[str]) -> list[str]:
    """Keys for tables and figures: without their prefix, except where that would make two equal."""
    groups = {key.partition(" ")[2] for key in keys if key.startswith("group ")}
    return [
        key if key.startswith("clip ") and key[5:] in groups else key.partition(" ")[2]
        for key in keys
    ]
