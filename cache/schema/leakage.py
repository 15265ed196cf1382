"""Data leakage between two splits: groups with clips on both sides, copies on both sides."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.groups import given_key, plain_names
from stepcli.cache.schema.views import clip_of, is_flip, view_of
from stepcli.runtime.words import counted, listed


@dataclass(frozen=True, slots=True)
class Leakage:
    """What the test clips of a task share with its training clips. Clips are ids without view."""

    test_clips: int = 0
    """Clips that are tested."""
    groups: tuple[str, ...] = ()
    """Names of groups with clips on both sides."""
    grouped: frozenset[str] = frozenset()
    """Test clips of those groups."""
    copied: frozenset[str] = frozenset()
    """Test clips that are copies of a training clip."""
    examples: tuple[tuple[str, str], ...] = ()
    """(test clip, training clip) of some of the copies."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line per kind of leakage; none where train and test share nothing."""
        lines = []
        tested = counted(self.test_clips, "test clip")
        if self.groups:
            share = "shares a group" if len(self.grouped) == 1 else "share a group"
            lines.append(
                f"{counted(len(self.groups), 'group')} in both train and test "
                f"({listed(self.groups)}): {len(self.grouped):,} of {tested} {share} with training "
                "clips, which may inflate the score; keep groups whole (stepcli store labels)"
            )
        if self.copied:
            are = "is a copy" if len(self.copied) == 1 else "are copies"
            pairs = ", ".join(f"{test} = {train}" for test, train in self.examples)
            more = len(self.copied) - len(self.examples)
            lines.append(
                f"{len(self.copied):,} of {tested} {are} of training clips "
                f"({pairs}{f' and {more:,} more' if more else ''}), which inflates the score; "
                "stepcli results gives it without them, stepcli store duplicates lists them"
            )
        return tuple(lines)


def find_leakage(
    train: Sequence[ClipRow], test: Sequence[ClipRow], copies: Iterable[Sequence[str]] = ()
) -> Leakage:
    """What test shares with train.

    Args:
        train: rows of the stored views that are trained on.
        test: rows of those that are tested.
        copies: sets of clip ids, without view, with equal tokens.
    """
    trained = {clip_of(row.id) for row in train}
    tested = {clip_of(row.id) for row in test}
    keys = {given_key(row) for row in train}
    shared = [(key, clip_of(row.id)) for row in test if (key := given_key(row)) in keys]
    copied: dict[str, str] = {}
    for members in copies:
        original = next((clip for clip in members if clip in trained), None)
        if original is not None:
            copied |= {c: original for c in members if c in tested and c not in trained}
    return Leakage(
        len(tested),
        tuple(plain_names(sorted({key for key, _ in shared}))),
        frozenset(clip for _, clip in shared),
        frozenset(copied),
        tuple(sorted(copied.items())[:3]),
    )


def label_conflicts(rows: Iterable[ClipRow], same: Iterable[Sequence[str]]) -> str | None:
    """A warning about clips that show the same frames under different labels, or None.

    Args:
        rows: rows of stored views; the first view that is not flipped gives a clip's label.
        same: sets of clip ids, without view, that show the same frames.
    """
    same = list(same)
    if not same:
        return None
    label_of: dict[str, str] = {}
    # A flipped view may carry the label of the mirrored class.
    for row in sorted(rows, key=lambda row: is_flip(view_of(row.id))):
        label_of.setdefault(clip_of(row.id), row.label)
    found = []
    for members in same:
        known = [clip for clip in members if clip in label_of]
        if len({label_of[clip] for clip in known}) > 1:
            found.append(" = ".join(f"{clip} ({label_of[clip]})" for clip in known[:3]))
    if not found:
        return None
    return (
        f"{counted(len(found), 'set')} of clips with the same frames and different labels: "
        f"{listed(found)}; at most one label of each can be right"
    )
