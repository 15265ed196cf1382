"""What a store held at one moment: its clips, and where each one's tokens lie."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from stepcli.cache.durable import read_regular
from stepcli.cache.errors import DamagedStore
from stepcli.cache.index import INDEX_LIMIT, decode_index, offset_column
from stepcli.cache.manifest import Manifest
from stepcli.cache.parts import INDEX, PARTS, list_parts, read_part_record
from stepcli.cache.token_layout import TokenLayout, layout_of


@dataclass(frozen=True)
class Snapshot:
    """Committed clips, sorted by id, one entry a clip. Immutable: threads may share it."""

    parts: tuple[str, ...]
    """Names of the parts, ascending; those whose copies are all superseded included."""
    ids: list[str]
    part_of: np.ndarray
    """[clips] int32: position in `parts`."""
    offsets: dict[str, np.ndarray]
    """[clips] int64 by array: byte offset in the array's file of the part."""
    crc32c_of: np.ndarray
    """[clips] uint32: checksum of the clip's bytes."""
    row_of: np.ndarray
    """[clips] int32: row in the part's index."""

    @cached_property
    def positions(self) -> dict[str, int]:
        """Position by clip id."""
        return {clip: position for position, clip in enumerate(self.ids)}

    def fingerprint(self, spec_digest: str) -> str:
        """sha256 over the spec and every clip's id and checksum: names the tokens, whatever
        the files they lie in."""
        digest = hashlib.sha256(spec_digest.encode())
        for clip, checksum in zip(self.ids, self.crc32c_of.tolist(), strict=True):
            digest.update(f"\n{len(clip)}:{clip}:{checksum:08x}".encode())
        return digest.hexdigest()


def take_snapshot(root: Path, manifest: Manifest) -> Snapshot:
    """Read the indexes of all committed parts.

    Raises:
        DamagedStore: an index or a part's record is not what was written.
    """
    read: dict[str, pa.Table] = {}
    while True:
        names = list_parts(root)
        try:
            for name in names:
                if name not in read:
                    read[name] = read_index(root, name, manifest)
        except FileNotFoundError as error:
            if name in list_parts(root):
                raise DamagedStore(
                    f"{error.filename}: this file of a committed part is missing; run stepcli "
                    "store verify, then repair"
                ) from None
            continue  # compacted since it was listed: its clips are in a part not listed yet
        return combine(names, [read[name] for name in names], layout_of(manifest.spec))


def read_index(root: Path, name: str, manifest: Manifest) -> pa.Table:
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
    data = read_regular(path, INDEX_LIMIT)
    if hashlib.sha256(data).hexdigest() != record.files[INDEX].sha256:
        raise DamagedStore(f"{path}: its bytes do not match the digest in the part's record")
    return decode_index(data, record.clips, layout_of(manifest.spec), path)


def combine(names: list[str], tables: list[pa.Table], layout: TokenLayout) -> Snapshot:
    """One snapshot of several parts, ascending by name: of copies of a clip the last wins."""
    ids: list[str] = []
    for table in tables:
        ids += table["id"].to_pylist()
    latest = {clip: place for place, clip in enumerate(ids)}
    ordered = sorted(latest)
    places = np.fromiter((latest[clip] for clip in ordered), np.int64, len(ordered))
    lengths = [table.num_rows for table in tables]

    def column(name: str, dtype: type) -> np.ndarray:
        pieces = [table[name].to_numpy() for table in tables]
        return np.concatenate([np.empty(0, dtype), *pieces])[places]

    rows = np.concatenate([np.empty(0, np.int32), *(np.arange(n, dtype=np.int32) for n in lengths)])
    return Snapshot(
        parts=tuple(names),
        ids=ordered,
        part_of=np.repeat(np.arange(len(names), dtype=np.int32), lengths)[places],
        offsets={array.name: column(offset_column(array), np.int64) for array in layout.arrays},
        crc32c_of=column("crc32c", np.uint32),
        row_of=rows[places],
    )
