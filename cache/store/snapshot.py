"""What a store held at one moment: its clips, and where each one's tokens lie."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from stepcli.cache.parts.commit import INDEX, PARTS, read_part_record
from stepcli.cache.parts.index import (
    COMPRESSED,
    INDEX_LIMIT,
    decode_index,
    offset_column,
)
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.schema.part_layout import TOKENS, PartLayout, part_layout
from stepcli.cache.storage.path import StoragePath
from stepcli.runtime.errors import ClipNotFound, DamagedStore
from stepcli.runtime.parquet_tables import numbers

GONE = "gone"
"""Stands for the part of clips that have left the store; no part can be called so."""

Clips = Sequence[str] | np.ndarray
"""Ids of clips, or their positions among the ids of a store as an integer array."""


@dataclass(frozen=True)
class Snapshot:
    """Committed clips, sorted by id, one entry per clip. Immutable: threads may share it."""

    parts: tuple[str, ...]
    """Names of the parts, ascending; those whose copies are all superseded included."""
    ids: list[str]
    part_of: np.ndarray
    """[clips] int32: position in `parts`."""
    offsets: dict[str, np.ndarray]
    """[clips] int64 by array: byte offset in the array's file of the part, or `COMPRESSED`."""
    crc32c_of: np.ndarray
    """[clips] uint32: checksum of the clip's bytes."""
    row_of: np.ndarray
    """[clips] int32: row in the part's index."""

    @cached_property
    def positions(self) -> dict[str, int]:
        """Position by clip id."""
        return {clip: position for position, clip in enumerate(self.ids)}

    @cached_property
    def compressed_parts(self) -> frozenset[int]:
        """Positions in `parts` of the compressed parts, which earlier versions wrote."""
        return frozenset(self.part_of[self.offsets[TOKENS] == COMPRESSED].tolist())

    def places(self, clips: Clips, where: object) -> np.ndarray:
        """Positions of clips.

        Args:
            clips: ids, or positions, which are only checked.
            where: the store, for the error's text.

        Raises:
            ClipNotFound: an id is not committed.
            ValueError: a position is out of range.
        """
        if isinstance(clips, np.ndarray):
            if clips.dtype.kind not in "iu" or clips.ndim != 1:
                raise ValueError(f"positions: a list of integers expected, got {clips.dtype}")
            if clips.size and (clips.min() < 0 or clips.max() >= len(self.ids)):
                raise ValueError(f"positions: expected 0 to {len(self.ids) - 1}")
            return clips
        try:
            return np.array([self.positions[clip] for clip in clips], np.int64)
        except KeyError as error:
            raise ClipNotFound(
                f"the store {where} holds no clip {error.args[0]!r}; extract it, or see "
                "stepcli store ls"
            ) from None

    def located_by(self, newer: "Snapshot") -> "Snapshot":
        """The same clips at the same positions, where a newer snapshot has them.

        A clip that is not in the newer one stays where it was, so that reading it says that its
        part is gone; no clip ever takes another's position.
        """
        known = newer.positions
        found = np.array([known.get(clip, -1) for clip in self.ids], np.int64)
        here, there = np.flatnonzero(found >= 0), found[found >= 0]
        # Parts that only clips which are gone still name come after the newer one's.
        gone = [self.parts[part] for part in np.unique(self.part_of[found < 0]).tolist()]
        parts = [*newer.parts, *(name for name in gone if name not in newer.parts)]
        rank = {name: number for number, name in enumerate(parts)}
        ranks = np.array([rank.get(name, -1) for name in self.parts], np.int32)
        part_of = ranks[self.part_of] if len(ranks) else self.part_of.copy()
        part_of[here] = newer.part_of[there]
        offsets = {name: places.copy() for name, places in self.offsets.items()}
        for name, places in offsets.items():
            places[here] = newer.offsets[name][there]
        checksums, rows = self.crc32c_of.copy(), self.row_of.copy()
        checksums[here], rows[here] = newer.crc32c_of[there], newer.row_of[there]
        return Snapshot(tuple(parts), self.ids, part_of, offsets, checksums, rows)

    def with_ids(self, ids: list[str]) -> "Snapshot":
        """These clips, sorted, at the places that this snapshot has; see `located_by`."""
        lost = [clip for clip in ids if clip not in self.positions]
        empty = Snapshot(
            parts=(GONE,) if lost else (),
            ids=ids,
            part_of=np.zeros(len(ids), np.int32),
            offsets={name: np.zeros(len(ids), np.int64) for name in self.offsets},
            crc32c_of=np.zeros(len(ids), np.uint32),
            row_of=np.zeros(len(ids), np.int32),
        )
        return empty.located_by(self)

    def fingerprint(self, spec_digest: str, clips: Iterable[str] | None = None) -> str:
        """sha256 over the spec and every clip's id and checksum: names the tokens, whatever
        the files that hold them.

        Args:
            spec_digest: of the store.
            clips: ids, also of clips that are not in the store; None: all that are.
        """
        if clips is not None:
            return self.with_ids(sorted(set(clips))).fingerprint(spec_digest)
        digest = hashlib.sha256(spec_digest.encode())
        for clip, checksum in zip(self.ids, self.crc32c_of.tolist(), strict=True):
            digest.update(f"\n{len(clip)}:{clip}:{checksum:08x}".encode())
        return digest.hexdigest()


def read_index(root: StoragePath, name: str, manifest: Manifest) -> pa.Table:
    """The index of one part, its bytes checked against the part's record first."""
    record = read_part_record(root, name)
    if record.spec_digest != manifest.spec_digest or record.format != manifest.format:
        raise DamagedStore(
            f"{root / PARTS / name}: this part belongs to a store of another spec or format; "
            "move it away"
        )
    path = root / PARTS / name / INDEX
    if INDEX not in record.files:
        raise DamagedStore(f"{path}: the part's record does not list its index")
    data = path.read(INDEX_LIMIT)
    if hashlib.sha256(data).hexdigest() != record.files[INDEX].sha256:
        raise DamagedStore(f"{path}: its bytes do not match the digest in the part's record")
    return decode_index(data, record.clips, part_layout(manifest.spec), path)


def combine(
    names: list[str],
    tables: dict[str, pa.Table],
    layout: PartLayout,
    known: Snapshot | None = None,
) -> Snapshot:
    """One snapshot of several parts: of copies of a clip the one in the highest part wins.

    Args:
        names: of all the parts.
        tables: indexes of the parts that are not in `known`.
        layout: of the store.
        known: a snapshot of some of the parts.
    """
    names = sorted(names)
    rank = {name: place for place, name in enumerate(names)}
    ids: list[str] = []
    parts, rows, checksums = (
        [np.empty(0, np.int32)],
        [np.empty(0, np.int32)],
        [np.empty(0, np.uint32)],
    )
    offsets = {array.name: [np.empty(0, np.int64)] for array in layout.arrays}
    if known is not None:
        ids += known.ids
        ranks = np.array([rank[name] for name in known.parts], np.int32)
        parts.append(ranks[known.part_of])
        rows.append(known.row_of)
        checksums.append(known.crc32c_of)
        for array in layout.arrays:
            offsets[array.name].append(known.offsets[array.name])
    for name, table in tables.items():
        ids += table["id"].to_pylist()
        parts.append(np.full(table.num_rows, rank[name], np.int32))
        rows.append(np.arange(table.num_rows, dtype=np.int32))
        checksums.append(numbers(table["crc32c"]))
        for array in layout.arrays:
            offsets[array.name].append(numbers(table[offset_column(array)]))
    part_of = np.concatenate(parts)
    latest = {ids[place]: place for place in np.argsort(part_of, kind="stable").tolist()}
    ordered = sorted(latest)
    places = np.fromiter((latest[clip] for clip in ordered), np.int64, len(ordered))
    return Snapshot(
        parts=tuple(names),
        ids=ordered,
        part_of=part_of[places],
        offsets={name: np.concatenate(pieces)[places] for name, pieces in offsets.items()},
        crc32c_of=np.concatenate(checksums)[places],
        row_of=np.concatenate(rows)[places],
    )
