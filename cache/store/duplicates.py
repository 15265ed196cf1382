"""Clips of a store that are copies of each other: equal tokens, or the same stretch of equal files.

The parts' indexes hold a checksum of each clip's tokens; clips whose checksum is unique are not
read. crc32c has 32 bits: among 220,847 distinct clips about 6 pairs share one by chance, so the
tokens of clips with equal checksums are compared too. Equal files can have tokens that differ in
their last bits, since a GPU rounds differently in another batch: digests of sources find those.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypedDict

import numpy as np

from stepcli.cache.schema.clips import ClipRow
from stepcli.cache.schema.official_splits import official_names, split_in
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.views import clip_of
from stepcli.cache.schema.windows import window_rule
from stepcli.cache.store.origins import same_stretches, stretches_of
from stepcli.cache.store.snapshot import Snapshot, read_index
from stepcli.cache.store.store import Store
from stepcli.runtime.errors import DamagedStore

MOST_COMPARED = 1 << 30
"""Bytes of tokens that are read to compare clips of equal checksums; of more, checksums decide."""
_CHUNK_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Copies:
    """Sets of clips with equal tokens, or of equal files."""

    sets: tuple[tuple[str, ...], ...] = ()
    """Ids of clips, without views; each set sorted, sets in the order of their first clip."""
    unconfirmed: int = 0
    """Stored views in sets that rest on checksums alone: too many to compare their tokens."""

    @property
    def clips(self) -> int:
        """Clips that are in a set."""
        return sum(map(len, self.sets))


def chance_pairs(clips: int) -> float:
    """How many pairs of distinct clips are expected to share a 32-bit checksum by chance."""
    return clips * (clips - 1) / 2 / 2**32


def find_copies(store: Store, *, most_compared: int = MOST_COMPARED) -> Copies:
    """Clips with equal tokens, and clips made from the same stretch of equal files.

    Views of one clip are not copies, and neither are clips cut from one source file at different
    times (windows): their tokens may be equal where nothing moves. The same stretch of one file
    under two ids is a pair of copies, and so are clips of different sources: a probe cannot tell
    them apart, whatever the files are. Windows of recordings in which every frame has the same
    tokens are no copies unless their files are equal: many recordings begin with a black picture.

    Args:
        store: open; what it has seen is looked at.
        most_compared: bytes of tokens that may be read to confirm equal checksums.

    Raises:
        DamagedStore: an index or a token file is not what was written.
    """
    try:
        return _find(store, most_compared)
    except FileNotFoundError:  # compacted away under this reader
        store.refresh()
    try:
        return _find(store, most_compared)
    except FileNotFoundError as error:
        raise DamagedStore(
            f"{error.filename}: this file of a committed part is missing; run stepcli store "
            "verify, then repair"
        ) from None


def _find(store: Store, most_compared: int) -> Copies:
    snapshot = store.snapshot
    alike = _equal_checksums(snapshot)
    files = [same for same in same_stretches(store, snapshot) if _clips_of(snapshot, same) > 1]
    if not alike and not files:
        return Copies()
    places = np.array(sorted(place for members in alike for place in members), np.int64)
    clip_bytes = part_layout(store.spec).clip_bytes
    confirmed = len(places) * clip_bytes <= most_compared
    if confirmed:
        digests = _token_digests(store, snapshot, places, clip_bytes)
        alike = [same for members in alike for same in _parted(members, digests)]
    if window_rule(store.spec.sampling) is not None:
        alike = [same for same in alike if not _is_still(store, snapshot.ids[same[0]])]
    places = np.array(sorted(place for members in alike for place in members), np.int64)
    origins = _origins(store, snapshot, places)
    sets: dict[str, set[str]] = {}
    equal = [same for members in alike for same in _without_windows(members, origins)]
    for same in (*equal, *files):
        # Views of two clips may be equal in several sets: left with left, right with right.
        clips = {clip_of(snapshot.ids[place]) for place in same}
        for known in {id(s): s for s in map(sets.get, clips) if s is not None}.values():
            clips |= known
        sets.update(dict.fromkeys(clips, clips))
    distinct = {id(clips): clips for clips in sets.values() if len(clips) > 1}.values()
    return Copies(
        tuple(sorted(tuple(sorted(clips)) for clips in distinct)),
        unconfirmed=0 if confirmed else len(places),
    )


def _equal_checksums(snapshot: Snapshot) -> list[list[int]]:
    """Positions of stored clips by equal checksum, where they are of at least two clips."""
    crc = snapshot.crc32c_of
    order = np.argsort(crc, kind="stable")
    ends = np.flatnonzero(np.diff(crc[order])) + 1
    starts = np.concatenate([[0], ends]) if len(crc) else np.empty(0, np.int64)
    lengths = np.diff(np.append(starts, len(crc)))
    found = []
    for start, length in zip(starts[lengths > 1], lengths[lengths > 1], strict=True):
        members = order[start : start + length].tolist()
        if _clips_of(snapshot, members) > 1:
            found.append(members)
    return found


def _clips_of(snapshot: Snapshot, places: Sequence[int]) -> int:
    return len({clip_of(snapshot.ids[place]) for place in places})


def _token_digests(
    store: Store, snapshot: Snapshot, places: np.ndarray, clip_bytes: int
) -> dict[int, bytes]:
    """Digest of each clip's stored bytes, scales included, by position."""
    found: dict[int, bytes] = {}
    step = max(1, _CHUNK_BYTES // clip_bytes)
    for start in range(0, len(places), step):
        chunk = places[start : start + step].tolist()
        # By id: the store may move on to a newer snapshot, where positions are others.
        arrays = store.read_arrays([snapshot.ids[place] for place in chunk])
        for row, place in enumerate(chunk):
            digest = hashlib.blake2b(digest_size=32)
            for array in arrays:
                digest.update(array[row].tobytes())
            found[place] = digest.digest()
    return found


def _is_still(store: Store, stored_id: str) -> bool:
    """Whether every frame of a stored clip has the same tokens."""
    for layout, array in zip(
        part_layout(store.spec).arrays, store.read_arrays([stored_id]), strict=True
    ):
        if "frame" in layout.axes:
            frames = np.moveaxis(array, layout.axes.index("frame"), 0)
            if not (frames == frames[:1]).all():
                return False
    return True


def _parted(members: Sequence[int], digests: dict[int, bytes]) -> list[list[int]]:
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    for place in members:
        by_digest[digests[place]].append(place)
    return [same for same in by_digest.values() if len(same) > 1]


class CopySet(TypedDict):
    """Clips whose stored tokens are equal."""

    files: Literal["equal", "different", "unknown"]
    """Whether they were made from equal files."""
    clips: list[dict[str, str]]
    """Their rows in the table of clips."""


class CopiesFound(TypedDict):
    """What `stepcli store duplicates` shows."""

    store: str
    clips: int
    copies: int
    sets: list[CopySet]
    test_clips_copied_in_train: int
    sets_with_several_labels: int
    compared_by_checksum_alone: int


def describe_copies(store: Store) -> CopiesFound:
    """What `stepcli store duplicates` shows; JSON-able."""
    copies = find_copies(store)
    rows: dict[str, ClipRow] = {}
    for row in store.clips():
        rows.setdefault(clip_of(row.id), row)
    sets = [[rows.get(clip, ClipRow(clip, "")) for clip in members] for members in copies.sets]
    stretches = stretches_of(store, {clip for members in copies.sets for clip in members})
    names = official_names(row.split for row in rows.values())
    copied = max(
        sum(each.count("test") for each in splits if "train" in each)
        for splits in (
            [[split_in(row.split, name) for row in members] for members in sets]
            for name in names or (None,)
        )
    )
    return {
        "store": str(store.path),
        "clips": len({clip_of(clip) for clip in store.ids}),
        "copies": copies.clips,
        "sets": [
            {
                "files": _files_told([stretches.get(row.id, set()) for row in members]),
                "clips": [asdict(row) for row in members],
            }
            for members in sets
        ],
        "test_clips_copied_in_train": copied,
        "sets_with_several_labels": sum(len({row.label for row in each}) > 1 for each in sets),
        "compared_by_checksum_alone": copies.unconfirmed,
    }


def _files_told(
    stretches: Sequence[Collection[object]],
) -> Literal["equal", "different", "unknown"]:
    """Whether clips were made from equal files, each given by what is recorded of its views."""
    if not all(stretches):
        return "unknown"
    return "equal" if len({each for one in stretches for each in one}) == 1 else "different"


_Origin = tuple[str, tuple[float, ...]]
"""Source file, and the times of the stored frames."""


def _origins(store: Store, snapshot: Snapshot, places: np.ndarray) -> dict[int, _Origin]:
    """Where each clip was cut from, as its part's index says; one index is read per part."""
    found: dict[int, _Origin] = {}
    for number in np.unique(snapshot.part_of[places]).tolist():
        mine = places[snapshot.part_of[places] == number]
        index = read_index(store.path, snapshot.parts[number], store.manifest)
        rows = index.select(["source", "pts_seconds"]).take(snapshot.row_of[mine])
        for place, row in zip(mine.tolist(), rows.to_pylist(), strict=True):
            found[place] = (row["source"], tuple(row["pts_seconds"]))
    return found


def _without_windows(members: Sequence[int], origins: dict[int, _Origin]) -> list[list[int]]:
    """Members of one set, unless all are cut from one file: then those of the same times."""
    if len({origins[place][0] for place in members}) > 1:
        return [list(members)]
    by_time: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for place in members:
        by_time[origins[place][1]].append(place)
    return [same for same in by_time.values() if len(same) > 1]
