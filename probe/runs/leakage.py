"""What runs record of leakage between train and test, and the score without copied test clips."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from stepcli.cache.schema.leakage import Leakage
from stepcli.probe.runs.metrics import summary
from stepcli.probe.runs.predictions import Predictions
from stepcli.probe.runs.table import NO_COPIES
from stepcli.runtime.words import counted


def leakage_record(
    leakage: Leakage, said: Predictions, pairs: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """What run.json keeps under "leakage": counts of clips, and the score without copies."""
    return {
        "test_clips": leakage.test_clips,
        "shared_groups": len(leakage.groups),
        "grouped_clips": len(leakage.grouped),
        "copied_clips": len(leakage.copied),
        "without_copies": without_copies(said, pairs),
    }


_COUNTS = ("test_clips", "shared_groups", "grouped_clips", "copied_clips")


def is_leakage_record(found: Any) -> bool:
    """Whether a value is what `leakage_record` makes: a run may come from anybody."""
    if not isinstance(found, dict) or found.keys() != {*_COUNTS, "without_copies"}:
        return False
    clean = found["without_copies"]
    if clean is not None:
        shares = ("top1", "top5", "mean_class")
        if not isinstance(clean, dict) or not all(is_share(clean.get(name)) for name in shares):
            return False
    return all(isinstance(found[name], int) for name in _COUNTS)


def is_share(value: Any) -> bool:
    """Whether a value is a number in [0, 1]."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def without_copies(said: Predictions, pairs: Sequence[tuple[int, int]]) -> dict[str, Any] | None:
    """The headline numbers over test samples that are no copies of training clips.

    Returns:
        Fractions of 1, and `samples`; None where there are no copies, or nothing but copies.
    """
    if said.copied is None or not said.copied.any() or said.copied.all():
        return None
    kept = ~said.copied
    found = summary(said.logits[kept], said.labels[kept], pairs)
    return {"samples": int(kept.sum()), **found}


def mean_without_copies(records: Sequence[dict[str, Any]]) -> float | None:
    """Top-1 without copied test clips, mean over runs; None where there are no copies."""
    found = [r.get("leakage", {}).get("without_copies") for r in records]
    return fmean(each["top1"] for each in found if each) if any(found) else None


def leakage_notes(records: Sequence[dict[str, Any]], column: str = NO_COPIES) -> list[str]:
    """Notes on a table of runs, one per finding: shared groups, copies, runs that cannot tell.

    Args:
        records: of the runs.
        column: what the table calls top-1 without copies.
    """
    known = [record["leakage"] for record in records if "leakage" in record]
    notes = []
    for tested, groups, grouped in sorted(
        {(f["test_clips"], f["shared_groups"], f["grouped_clips"]) for f in known}
    ):
        if groups:
            share = "shares a group" if grouped == 1 else "share a group"
            notes.append(
                f"{grouped:,} of {counted(tested, 'test clip')} {share} with training clips "
                f"({counted(groups, 'group')} in both), which may inflate the score"
            )
    for tested, copied in sorted({(f["test_clips"], f["copied_clips"]) for f in known}):
        if copied:
            are = "is a copy" if copied == 1 else "are copies"
            left = "leaves them out" if copied < tested else "is empty: none is left"
            notes.append(
                f"{copied:,} of {counted(tested, 'test clip')} {are} of training clips, which "
                f"inflates the score; {column} {left}"
            )
    count = len(records) - len(known)
    if count:
        say = "does not say" if count == 1 else "do not say"
        notes.append(
            f"{counted(count, 'run')} of an earlier version {say} whether test clips are copies of "
            "training clips; see stepcli store duplicates"
        )
    return notes
