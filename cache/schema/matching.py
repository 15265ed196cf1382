"""Match the ids of a list that a user hands over with those that a store knows."""

from collections import Counter
from collections.abc import Collection, Sequence

from stepcli.cache.schema.alike import composed
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted, listed


def match_ids(
    place: object, ids: Sequence[str], known: Collection[str], thing: str = "clip"
) -> tuple[list[str | None], list[str]]:
    """Each listed id as the store has it, None where it has none; and notes for a user.

    White space around an id and its Unicode form do not count, on either side, where that leaves
    one id of the store. Blank ids are counted and match nothing.

    Args:
        place: the list, for messages.
        ids: one per line.
        known: ids of the store.
        thing: what the ids name.

    Raises:
        UsageError: an id appears twice, or no id at all is known.
    """
    plain: dict[str, str | None] = {}
    for name in () if all(i in known for i in ids) else known:
        key = composed(name.strip())
        plain[key] = None if key in plain else name
    names = [i if i in known else plain.get(composed(i.strip())) for i in ids]
    blank = sum(not i.strip() for i in ids)
    unknown = [i for i, name in zip(ids, names, strict=True) if name is None and i.strip()]
    lost = (
        f"{len(unknown):,} of {counted(len(ids), 'line')} "
        f"{'names' if len(unknown) == 1 else 'name'} no {thing} of the store: "
        f"{listed(map(repr, unknown))}"
    )
    counts = Counter(i.strip() for i in ids if i.strip())
    if twice := [repr(i) for i, count in counts.items() if count > 1]:
        raise UsageError(
            f"{place}: {counted(len(twice), f'{thing} id')} "
            f"{'appears' if len(twice) == 1 else 'appear'} more than once: {listed(twice)}"
            f"{f'; {lost}' if unknown else ''}; give each {thing} one line"
        )
    if ids and len(unknown) + blank == len(ids):
        have = listed(map(repr, sorted(known)[:3])) or "none"
        raise UsageError(
            f"{place}: none of {counted(len(ids), 'line')} names a {thing} of the store: the file "
            f"has {listed(map(repr, unknown)) or 'blank ids'}, the store has {have}; ids must match"
        )
    notes = [f"{place}: {lost}"] if unknown else []
    if blank:
        notes.append(f"{place}: {counted(blank, 'line')} without a {thing} id ignored")
    return names, notes
