"""Whether the clips of a store are still those of the list: by size and time, else by digest."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from stepcli.cache.maintenance.known_digests import FileKey
from stepcli.cache.schema.clips import Source
from stepcli.cache.schema.windows import split_steps
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.sources.origin import FileState, fresh_digest, path_below, segment_of, state_of

LOOKERS = 32
"""Threads that look at files: on a network each look waits for a server."""
READERS = 8
"""Threads that read files for their digests."""
_LOOKS = 512
"""Files that a thread looks at before it asks for more."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A stored clip that was made from something else than the list names now."""

    id: str
    stored: Source
    now: str
    """What the list names, in words."""


@dataclass(slots=True)
class SourceCheck:
    """The stored clips of a list, by how they compare."""

    same: list[str] = field(default_factory=list)
    moved: list[tuple[str, str, str]] = field(default_factory=list)
    """Id, path then, path now: the same bytes. They are in `same` too."""
    changed: list[Changed] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Their files are not there now, so nothing can be told."""
    unknown: list[str] = field(default_factory=list)
    """Stored by a version that did not record sources."""


def look(paths: Iterable[str]) -> dict[str, FileState | None]:
    """The state of each file, None for one that is not there; nothing is read."""

    def some(few: Sequence[str]) -> list[FileState | None]:
        return [_state(path) for path in few]

    distinct = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(LOOKERS) as threads:
        states = threads.map(some, _groups(distinct))
        return dict(zip(distinct, (state for group in states for state in group), strict=True))


class Digester:
    """Takes the digests of files, but of those that are known.

    Args:
        known: path, size and time -> digest.
    """

    def __init__(self, known: Mapping[FileKey, str]) -> None:
        self._known = known
        self.fresh: dict[FileKey, str] = {}
        """Of the files that had to be read. A folder's time tells little of its images, so those
        are read each time, and not in here."""

    def digests(
        self, paths: Iterable[str], states: Mapping[str, FileState | None]
    ) -> dict[str, str]:
        """The digest of each file, "" for one that cannot be read."""
        found: dict[str, str] = {}
        keys: dict[str, FileKey] = {}
        for path in dict.fromkeys(paths):
            state = states[path]
            if state is not None and state.size >= 0:
                keys[path] = (os.path.abspath(path), state.size, state.mtime_ns)  # noqa: PTH100
            found[path] = self._known.get(keys[path], "") if path in keys else ""
        unknown = [path for path, digest in found.items() if not digest]
        with ThreadPoolExecutor(READERS) as threads:
            found |= zip(unknown, threads.map(_digest, unknown), strict=True)
        self.fresh |= {keys[path]: found[path] for path in unknown if path in keys and found[path]}
        return found


def compare(
    clips: Sequence[Clip],
    stored: Collection[str],
    origins: Mapping[str, Source],
    *,
    digester: Digester,
    full: bool = False,
) -> SourceCheck:
    """Compare what the list names with what the stored clips were made from.

    Path, size and time equal: the same. Another size or stretch: changed. Otherwise the bytes
    decide, through their digest.

    Args:
        clips: of the list, with their views.
        stored: ids that the store holds.
        origins: stored id -> source, where it is recorded.
        digester: takes digests where they decide.
        full: take every file's digest, also where path, size and time agree.
    """
    found = SourceCheck()
    known: list[tuple[str, Clip]] = []
    for clip in clips:
        for stored_id in clip.stored_ids:
            if stored_id not in stored:
                continue
            if stored_id in origins:
                known.append((stored_id, clip))
            else:
                found.unknown.append(stored_id)
    states = look(str(clip.path) for _, clip in known)
    open_cases: list[tuple[str, Clip]] = []
    for stored_id, clip in known:
        origin, state = origins[stored_id], states[str(clip.path)]
        if split_steps(origin.segment)[0] != segment_of(clip):
            found.changed.append(Changed(stored_id, origin, _words(clip, state)))
        elif state is None:
            found.missing.append(stored_id)
        elif state.size != (-1 if _is_folder(origin) else origin.size):
            found.changed.append(Changed(stored_id, origin, _words(clip, state)))
        elif (
            not full
            and state.mtime_ns == origin.mtime_ns
            and path_below(clip.path, clip.root) == origin.path
        ):
            found.same.append(stored_id)
        else:
            open_cases.append((stored_id, clip))
    _decide(open_cases, origins, states, digester, found)
    return found


def _decide(
    cases: Sequence[tuple[str, Clip]],
    origins: Mapping[str, Source],
    states: Mapping[str, FileState | None],
    digester: Digester,
    found: SourceCheck,
) -> None:
    digest_of = digester.digests((str(clip.path) for _, clip in cases), states)
    for stored_id, clip in cases:
        origin, path = origins[stored_id], path_below(clip.path, clip.root)
        digest = digest_of[str(clip.path)]
        if not digest:
            found.missing.append(stored_id)
        elif digest != origin.digest:
            words = _words(clip, states[str(clip.path)], digest)
            found.changed.append(Changed(stored_id, origin, words))
        else:
            found.same.append(stored_id)
            if path != origin.path:
                found.moved.append((stored_id, origin.path, path))


def describe(source: Source) -> str:
    """A recorded source in words: path, size, digest, stretch."""
    path = os.path.join(source.root, source.path)  # noqa: PTH118 (an absolute path stays)
    return _in_words(path, source.size, source.digest, source.segment)


def _words(clip: Clip, state: FileState | None, digest: str = "") -> str:
    path = os.path.abspath(clip.path)  # noqa: PTH100 (Path.absolute keeps "..")
    return _in_words(path, -1 if state is None else state.size, digest, segment_of(clip))


def _in_words(path: str, size: int, digest: str, segment: str) -> str:
    kind, _, value = digest.partition(":")
    facts = [f"{size:,} bytes"] if size >= 0 else []
    facts += [f"{kind} {value[:8]}"] if value else []
    facts += [segment] if segment else []
    return f"{path} ({', '.join(facts)})" if facts else path


def _is_folder(source: Source) -> bool:
    return source.digest.startswith("images")


def _state(path: str) -> FileState | None:
    try:
        return state_of(path)
    except OSError:
        return None


def _digest(path: str) -> str:
    try:
        return fresh_digest(Path(path))
    except OSError:
        return ""


def _groups(paths: Sequence[str]) -> list[Sequence[str]]:
    return [paths[start : start + _LOOKS] for start in range(0, len(paths), _LOOKS)]
