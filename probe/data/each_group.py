"""Leave one group out: each subject or recording is tested by a probe trained on all others."""

from dataclasses import replace

from stepcli.probe.data.splits import LabelledClips
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.words import counted, natural_order

MOST_GROUPS = 200
"""More are clips without a group rather than people; each costs a training."""


def groups_of(table: LabelledClips) -> list[str]:
    """Groups of the clips of a table, united over copies, in natural order.

    Raises:
        UsageError: fewer than two, or more than are ever trained one by one.
    """
    found = sorted({table.group(row) for row in (*table.train, *table.test)}, key=natural_order)
    alone = not any(row.group.strip() for row in (*table.train, *table.test))
    if alone or not 2 <= len(found) <= MOST_GROUPS:
        have = "no clip has a group" if alone else f"the clips are of {len(found):,} groups"
        raise UsageError(
            f"--protocol leave-one-group-out: {have}, expected 2 to {MOST_GROUPS} (subjects, "
            "recordings); set the column group of the store's clips table: stepcli store labels"
        )
    return found


def ungrouped_note(table: LabelledClips) -> str:
    """What to say of clips without a group among others that have one; "" where there are none."""
    rows = (*table.train, *table.test)
    blank = sum(not row.group.strip() for row in rows)
    if not blank:
        return ""
    return (
        f"warning: {counted(blank, 'clip')} of {len(rows):,} {'has' if blank == 1 else 'have'} no "
        "group: each counts as one of its own, which is left out alone; set their groups: stepcli "
        "store labels"
    )


def leave_out(table: LabelledClips, group: str | None) -> LabelledClips:
    """Test one group and train on all others.

    Args:
        table: with every clip as train.
        group: a name of `groups_of`.

    Raises:
        UnknownName: no clip is of that group.
    """
    held = tuple(row for row in table.train if table.group(row) == group)
    if group is None or not held:
        raise UnknownName("group", str(group), groups_of(table))
    kept = tuple(row for row in table.train if table.group(row) != group)
    return replace(table, train=kept, test=held)
