"""What runs record of leakage between train and test, and the score without copied test clips."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from stepcli.cache.schema.leakage import Leakage
from stepcli.probe.runs.metrics import summary
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.runs.record_parts import CleanScores, LeakageCounts
from stepcli.probe.runs.table import NO_COPIES
from stepcli.runtime.words import counted, listed

if TYPE_CHECKING:
    from stepcli.probe.runs.predictions import Predictions


def leakage_counts(
    leakage: Leakage, said: "Predictions", pairs: Sequence[tuple[int, int]]
) -> LeakageCounts:
    """What a run records of leakage."""
    return LeakageCounts(
        test_clips=leakage.test_clips,
        shared_groups=len(leakage.groups),
        grouped_clips=len(leakage.grouped),
        copied_clips=len(leakage.copied),
        without_copies=without_copies(said, pairs),
    )


def without_copies(said: "Predictions", pairs: Sequence[tuple[int, int]]) -> CleanScores | None:
    """The numbers over test samples that are no copies of training clips.

    None where there are no copies, or nothing but copies.
    """
    if said.copied is None or not said.copied.any() or said.copied.all():
        return None
    if said.relevant is not None:  # these numbers are of one label per clip
        return None
    unique = ~said.copied
    found = summary(said.logits[unique], said.labels[unique], pairs)
    return CleanScores(samples=int(unique.sum()), **found)


def mean_without_copies(records: Sequence[RunRecord]) -> float | None:
    """Top-1 without copied test clips, mean over runs; None where there are no copies."""
    found = [r.top1_without_copies for r in records if r.top1_without_copies is not None]
    return fmean(found) if found else None


def leakage_notes(records: Sequence[RunRecord], column: str = NO_COPIES) -> list[str]:
    """Notes on a table of runs, one per finding: shared groups, copies, runs that cannot tell.

    Args:
        records: of the runs.
        column: what the table calls top-1 without copies.
    """
    known = [(record, record.leakage) for record in records if record.leakage is not None]
    notes = []
    shared: dict[tuple[int, int, int], list[RunRecord]] = {}
    copies: dict[tuple[int, int], list[RunRecord]] = {}
    for record, found in known:
        counts = (found.test_clips, found.shared_groups, found.grouped_clips)
        shared.setdefault(counts, []).append(record)
        copies.setdefault((found.test_clips, found.copied_clips), []).append(record)
    for (tested, groups, grouped), members in sorted(shared.items()):
        if groups:
            share = "shares a group" if grouped == 1 else "share a group"
            notes.append(
                f"{_whose(members, records)}{grouped:,} of {counted(tested, 'test clip')} {share} "
                f"with training clips ({counted(groups, 'group')} in both), which may inflate the "
                "score"
            )
    for (tested, copied), members in sorted(copies.items()):
        if copied:
            are = "is a copy" if copied == 1 else "are copies"
            left = "leaves them out" if copied < tested else "is empty: none is left"
            notes.append(
                f"{_whose(members, records)}{copied:,} of {counted(tested, 'test clip')} {are} of "
                f"training clips, which inflates the score; {column} {left}"
            )
    count = len(records) - len(known)
    if count:
        say = "does not say" if count == 1 else "do not say"
        notes.append(
            f"{counted(count, 'run')} of an earlier version {say} whether test clips are copies of "
            "training clips; see stepcli store duplicates"
        )
    return notes


def _whose(members: Sequence[RunRecord], records: Sequence[RunRecord]) -> str:
    """ "2 of 9 runs (a, b): ", and nothing where it is all of them."""
    if len(members) == len(records):
        return ""
    names = listed([record.run for record in members], 3)
    return f"{len(members)} of {counted(len(records), 'run')} ({names}): "
