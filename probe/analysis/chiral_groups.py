"""Chiral groups: of classes, or as Chirality in Action publishes them, clip by clip.

The published tables (Bagad & Zisserman, NeurIPS 2025; MIT; 16 groups of SSv2, 66 of EPIC-Kitchens
and 28 of Charades) have the columns verb_forward, verb_reverse, noun_abstract, triplet_id,
id_forward, id_reverse and split. A line is a pair of clips; a group is all lines of a triplet_id:
two opposite verbs under one condition on the noun. Checked (2026-11): the columns and the numbers
of groups, from the authors' description; the tables themselves were not available.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stepcli.cache.schema.alike import composed
from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.split_names import normalise_split
from stepcli.cache.schema.views import clip_of
from stepcli.probe.data.splits import LabelledClips
from stepcli.runtime.csv_tables import MissingColumns, read_csv, read_table
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted, listed

PUBLISHED = (
    *("verb_forward", "verb_reverse", "noun_abstract", "triplet_id", "id_forward", "id_reverse"),
    "split",
)


@dataclass(frozen=True, slots=True)
class ChiralGroup:
    """Classes that are told apart by a probe of their own."""

    name: str
    labels: tuple[str, ...]
    clips: Mapping[str, tuple[str, str]] | None = None
    """Clip -> its label and its split, train or another; None: as the store has them."""

    def missing(self, known: Mapping[str, Sequence[ClipRow]]) -> list[str]:
        """Clips of the group that a store does not have.

        Args:
            known: clip -> its rows.
        """
        return [clip for clip in self.clips or {} if clip not in known]

    def table(
        self,
        known: Mapping[str, Sequence[ClipRow]],
        copies: tuple[tuple[str, ...], ...],
    ) -> LabelledClips:
        """The group's own clips, labels and splits, as far as a store has them.

        Args:
            known: clip -> its rows.
            copies: sets of clips with equal tokens.
        """
        sides: dict[bool, list[ClipRow]] = {True: [], False: []}
        for clip, (label, split) in (self.clips or {}).items():
            own = (replace(row, label=label, split=split) for row in known.get(clip, ()))
            sides[split == "train"] += own
        train, test = (tuple(sides[side]) for side in (True, False))
        return LabelledClips(train, test, self.labels, (), frozenset(), (), copies=copies)


def read_groups(path: Path) -> list[ChiralGroup]:
    """Chiral groups from a CSV: the published columns, or group and label, a line per class.

    Raises:
        UsageError: neither of the two tables, or a group that cannot be one.
    """
    if _is_published(path):
        return _published(path)
    groups: dict[str, list[str]] = {}
    for row in read_csv(path, ("group", "label")):
        groups.setdefault(row["group"], []).append(composed(row["label"]))
    for name, labels in groups.items():
        if len(set(labels)) < 2 or len(set(labels)) < len(labels):
            raise UsageError(
                f"{path}: group {name!r} has the classes {', '.join(labels)}; expected two or "
                "more, each once"
            )
    if not groups:
        raise UsageError(f"{path} has no group")
    return [ChiralGroup(name, tuple(labels)) for name, labels in groups.items()]


def _is_published(path: Path) -> bool:
    try:
        read_table(path, ("triplet_id",))
    except MissingColumns:
        return False
    return True


def _published(path: Path) -> list[ChiralGroup]:
    clips: dict[str, dict[str, tuple[str, str]]] = {}
    named: dict[str, tuple[str, str, str]] = {}
    for line, row in enumerate(read_csv(path, PUBLISHED), 2):
        cells = {name: row[name].strip() for name in PUBLISHED}
        if empty := [name for name in PUBLISHED if name != "noun_abstract" and not cells[name]]:
            raise UsageError(f"{path}: line {line}: {', '.join(empty)} is empty")
        triplet = cells["triplet_id"]
        verbs = (cells["verb_forward"], cells["verb_reverse"], cells["noun_abstract"])
        if named.setdefault(triplet, verbs) != verbs or verbs[0] == verbs[1]:
            raise UsageError(
                f"{path}: line {line}: triplet {triplet!r} is {' / '.join(verbs)}; expected two "
                f"different verbs, and the same as in its first line ({' / '.join(named[triplet])})"
            )
        split = normalise_split(cells["split"])
        for clip, verb in zip((cells["id_forward"], cells["id_reverse"]), verbs, strict=False):
            found = clips.setdefault(triplet, {}).setdefault(clip, (verb, split))
            if found != (verb, split):
                raise UsageError(
                    f"{path}: line {line}: clip {clip!r} of triplet {triplet!r} is {verb!r} in "
                    f"{split}, and {found[0]!r} in {found[1]} before"
                )
    if not clips:
        raise UsageError(f"{path} has no group")
    return [
        ChiralGroup(_name(triplet, *named[triplet]), named[triplet][:2], mine)
        for triplet, mine in clips.items()
    ]


def _name(triplet: str, forward: str, reverse: str, noun: str) -> str:
    return f"{triplet}: {forward} / {reverse}{f' {noun}' if noun else ''}"


def require_some(groups: Sequence[ChiralGroup], known: Mapping[str, object]) -> None:
    """Refuse a store that has none of the clips that a table names.

    Raises:
        UsageError: with ids of both, since they are most likely written differently.
    """
    wanted = list(dict.fromkeys(clip for group in groups for clip in group.clips or {}))
    if wanted and not any(clip in known for clip in wanted):
        raise UsageError(
            f"none of the {counted(len(wanted), 'clip')} of the table is in the store: the table "
            f"names {listed(map(repr, wanted))}, the store {listed(map(repr, known))}; check that "
            "it is the same data set, or rewrite the ids of the table"
        )


def rows_by_clip(rows: Sequence[ClipRow]) -> dict[str, list[ClipRow]]:
    """The rows of each clip, one per stored view."""
    found: dict[str, list[ClipRow]] = {}
    for row in rows:
        found.setdefault(clip_of(row.id), []).append(row)
    return found
