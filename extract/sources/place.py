"""Which data set a store is of: refuse another one's clips, recognise one that has moved."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from stepcli.cache.schema.clips import Source
from stepcli.cache.schema.views import clip_of
from stepcli.cache.schema.windows import split_steps, split_window
from stepcli.extract.datasets.clip import Clip, Dataset
from stepcli.extract.sources.compare import Digester, SourceCheck, look
from stepcli.extract.sources.origin import path_below, segment_of
from stepcli.runtime.errors import UsageError

SEPARATOR = "/"
"""Between the prefix of `--append` and a clip's id."""


def with_prefix(dataset: Dataset, prefix: str) -> Dataset:
    """The data set, its clips knowing their root; ids begin with the prefix, if there is one.

    Raises:
        UsageError: a prefix that cannot be told from the id behind it.
    """
    if prefix != prefix.strip().strip(SEPARATOR):
        raise UsageError(f"--append {prefix!r}: expected text without whitespace or / at its ends")
    root = "" if dataset.root is None else str(dataset.root)
    return replace(dataset, clips=tuple(clip.within(root, prefix) for clip in dataset.clips))


@dataclass(frozen=True, slots=True)
class Home:
    """Where the clips of a store come from that this run is about."""

    prefix: str
    roots: frozenset[str]
    """This run's root and those that it was moved from."""
    prefixes: frozenset[str]
    """All of the store's."""

    def is_mine(self, stored_id: str, origin: Source | None) -> bool:
        """Whether a stored clip belongs to this run's data set, listed or not."""
        if origin is not None:
            return origin.prefix == self.prefix and origin.root in self.roots
        if self.prefix:
            return stored_id.startswith(self.prefix + SEPARATOR)
        return not any(stored_id.startswith(p + SEPARATOR) for p in self.prefixes if p)


def find_home(
    store: object, dataset: Dataset, prefix: str, origins: Mapping[str, Source], found: SourceCheck
) -> tuple[Home, str]:
    """See that a store is of this run's data set; a note where that has moved, else "".

    It has moved where the list names at least half of the stored clips, and more of those that
    were compared are the same than are not.

    Args:
        store: its place, for the error's text.
        dataset: as listed.
        prefix: of `--append`.
        origins: recorded sources of the store.
        found: how the stored clips of the list compare.

    Raises:
        UsageError: the store holds clips of another root, or those of this one otherwise named.
    """
    root = "" if dataset.root is None else str(dataset.root)
    places = {(origin.prefix, origin.root) for origin in origins.values()}
    mine = {place for name, place in places if name == prefix}
    listed = {clip.id for clip in dataset.clips}
    theirs = [
        stored_id in listed or listed_id(stored_id) in listed
        for stored_id, origin in origins.items()
        if origin.prefix == prefix
    ]
    agreeing = {origins[stored_id].root for stored_id in found.same}
    here = {place for place in mine if is_same_folder(place, root)}
    # A root that is gone was moved, or lies on another machine: another data set's is still here.
    gone = mine if dataset.bundled else {place for place in mine if not os.path.isdir(place)}  # noqa: PTH112
    roots = frozenset({root, *here, *agreeing, *gone})
    home = Home(prefix, roots, frozenset(name for name, _ in places))
    if here or dataset.bundled or not places:
        return home, ""
    named_otherwise = sorted({name for name, place in places if is_same_folder(place, root)})
    if named_otherwise:
        known = named_otherwise[0]
        raise UsageError(
            f"the store {store} holds the clips of {root} already, "
            + (f"with --append {known}; give it again" if known else "without --append")
            + (f" instead of --append {prefix}" if prefix else "")
        )
    if 2 * sum(theirs) >= len(theirs) and len(found.same) > len(found.changed):
        olds = ", ".join(sorted(agreeing))
        return home, (
            f"the data set has moved from {olds} to {root}: "
            f"{_clips(len(found.same))} compared, the same videos"
        )
    if mine or not prefix:
        others = sorted(place for _, place in places)
        example = f"; e.g. {found.changed[0].now} differs" if found.changed else ""
        raise UsageError(
            f"the store {store} holds clips of {', '.join(others[:3])}, this run is on {root}"
            f"{example}; give another --store, or --append PREFIX to add these clips under ids "
            "PREFIX/..."
        )
    return home, ""


def is_same_folder(one: str, other: str) -> bool:
    """Whether two paths name one folder, through links too."""
    try:
        return one == other or os.path.samefile(one, other)  # noqa: PTH121 (these are texts)
    except OSError:
        return False


def rename_moved(
    clips: Sequence[Clip],
    stored: Collection[str],
    origins: Mapping[str, Source],
    prefix: str,
    listed: Collection[str],
    digester: Digester,
) -> tuple[tuple[Clip, ...], list[tuple[str, str]]]:
    """Give clips that are stored under another id, made from the same bytes, that id.

    A clip without an id of its own is called after its path; moved, it would be stored twice.
    Only stored clips that the list does not name are looked through.

    Args:
        clips: those that the run is about.
        stored: ids that the store holds.
        origins: stored id -> source, where it is recorded.
        prefix: of `--append`.
        listed: ids of the whole list.
        digester: takes digests where they decide.

    Returns:
        The clips; and the pairs (id in the list, id in the store).
    """
    lost: dict[tuple[int, str], list[str]] = {}
    for stored_id, origin in origins.items():
        if stored_id in listed or origin.prefix != prefix:
            continue
        if listed_id(stored_id) not in listed:
            size = -1 if origin.digest.startswith("images") else origin.size
            lost.setdefault((size, split_steps(origin.segment)[0]), []).append(stored_id)
    if not lost:
        return tuple(clips), []
    fresh = [c for c in clips if not any(stored_id in stored for stored_id in c.stored_ids)]
    states = look(str(clip.path) for clip in fresh)
    candidates = [
        clip
        for clip in fresh
        if (state := states[str(clip.path)]) is not None and (state.size, segment_of(clip)) in lost
    ]
    digest_of = digester.digests((str(clip.path) for clip in candidates), states)
    names: dict[tuple[str, str], list[str]] = {}
    for stored_id in sorted({one for group in lost.values() for one in group}):
        origin = origins[stored_id]
        bases = names.setdefault((origin.digest, split_steps(origin.segment)[0]), [])
        if listed_id(stored_id) not in bases:
            bases.append(listed_id(stored_id))
    taken: dict[str, str] = {}
    for clip in candidates:
        bases = names.get((digest_of[str(clip.path)], segment_of(clip)), [])
        if bases:
            taken[clip.id] = bases.pop(0)
    renamed = tuple(replace(c, id=taken[c.id]) if c.id in taken else c for c in clips)
    return renamed, list(taken.items())


def unrecorded_elsewhere(
    clips: Sequence[Clip], unknown: Collection[str], read_from: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """Of clips without a recorded source, those that were read from another path: id, then, now.

    Args:
        clips: of the list.
        unknown: stored ids.
        read_from: stored id -> path as the decoder was given it.
    """
    found = []
    for clip in clips:
        now = os.path.abspath(clip.path)  # noqa: PTH100 (Path.absolute keeps "..")
        for stored_id in clip.stored_ids:
            then = read_from.get(stored_id, "")
            if stored_id in unknown and os.path.isabs(then) and then != now:  # noqa: PTH117
                found.append((stored_id, then, path_below(clip.path, "")))
    return found


def not_listed(
    stored: Iterable[str], listed: Collection[str], origins: Mapping[str, Source], home: Home
) -> list[str]:
    """Ids of the store that belong to this run's data set and that its list does not name."""
    return sorted(
        stored_id
        for stored_id in stored
        if stored_id not in listed
        and listed_id(stored_id) not in listed
        and home.is_mine(stored_id, origins.get(stored_id))
    )


def listed_id(stored_id: str) -> str:
    """The id under which a list names what a view, or a window of a recording, was cut from."""
    return split_window(clip_of(stored_id))[0]


def _clips(count: int) -> str:
    return f"{count} clip" if count == 1 else f"{count} clips"
