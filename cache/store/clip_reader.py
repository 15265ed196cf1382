"""Copies clips from part files into memory: by byte range, around the format libraries."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcli.cache.parts.commit import PARTS
from stepcli.cache.parts.token_files import array_file
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.part_layout import ArrayLayout, PartLayout
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.store.snapshot import Snapshot
from stepcli.runtime.errors import StoreError


@dataclass(frozen=True)
class _Source:
    array: ArrayLayout
    file: str


class ClipReader:
    """Reads the arrays of a store's clips. Safe from several threads and after a fork."""

    def __init__(self, root: StoragePath, form: Format, layout: PartLayout) -> None:
        self._root = root
        self._parts = root / PARTS
        self._format = form
        self._layout = layout
        self._sources = [_Source(array, array_file(form, array)) for array in layout.arrays]
        self._clips = self._parts.clip_source()

    def read(
        self, snapshot: Snapshot, places: np.ndarray, array: int, out: np.ndarray | None
    ) -> np.ndarray:
        """Copy one array of some clips.

        Args:
            snapshot: where the clips lie.
            places: [n] positions in the snapshot.
            array: 0 for the tokens, then the scales in the layout's order.
            out: [n, ...] to fill, C order; made when None.

        Raises:
            FileNotFoundError: a part is gone.
            DamagedStore: a file ends too early.
            StoreError: a clip is in a compressed part.
            ValueError: `out` has another shape, dtype or order.
        """
        source = self._sources[array]
        shape = (len(places), *source.array.clip_shape)
        if out is not None and (
            out.shape != shape or out.dtype != source.array.dtype or not out.flags.c_contiguous
        ):
            raise ValueError(
                f"out: expected {shape} {source.array.dtype.name} in C order, got {out.shape} "
                f"{out.dtype.name}"
            )
        if not len(places):
            return np.empty(shape, source.array.dtype) if out is None else out
        if array == 0:
            self._require_uncompressed(snapshot, places)
        size = source.array.clip_bytes
        filled = out

        def buffer() -> memoryview:
            # Allocated late: what a hostile spec claims must be there in bytes first.
            nonlocal filled
            if filled is None:
                filled = np.empty(shape, source.array.dtype)
            return filled.data.cast("B")

        offsets = snapshot.offsets[source.array.name][places]
        which = snapshot.part_of[places]
        self._clips.read(snapshot.parts, source.file, which, offsets, size, buffer)
        assert filled is not None
        return filled

    def _require_uncompressed(self, snapshot: Snapshot, places: np.ndarray) -> None:
        compressed = snapshot.compressed_parts
        if compressed and not compressed.isdisjoint(snapshot.part_of[places].tolist()):
            parts = (
                "1 compressed part"
                if len(compressed) == 1
                else f"{len(compressed)} compressed parts"
            )
            raise StoreError(
                f"the store {self._root} has {parts}, written by an earlier version: stepcli store "
                f"compact --store {self._root} rewrites them uncompressed, stepcli store convert "
                f"{self._root} NEW makes an uncompressed copy"
            )

    def read_all(
        self, snapshot: Snapshot, places: np.ndarray, outs: Sequence[np.ndarray] | None = None
    ) -> Sequence[np.ndarray]:
        """Every array of some clips, tokens first; into `outs` if given."""
        given = [None] * len(self._sources) if outs is None else outs
        return [
            self.read(snapshot, places, array, out)
            for array, out in zip(range(len(self._sources)), given, strict=True)
        ]

    def forget(self) -> None:
        """Close the files kept open."""
        self._clips.forget()
