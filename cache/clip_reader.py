"""Copies clips from part files into memory by byte range, around the format libraries."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepcli.cache.formats import array_file
from stepcli.cache.manifest import Format
from stepcli.cache.parts import PARTS
from stepcli.cache.ranges import FilePool
from stepcli.cache.snapshot import Snapshot
from stepcli.cache.token_layout import ArrayLayout, TokenLayout


@dataclass(frozen=True)
class _Source:
    array: ArrayLayout
    file: str


class ClipReader:
    """Reads the arrays of a store's clips. Safe from several threads and after a fork."""

    def __init__(self, root: Path, form: Format, layout: TokenLayout) -> None:
        self._parts = root / PARTS
        self._sources = [_Source(array, array_file(form, array)) for array in layout.arrays]
        self._files = FilePool()

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
            ValueError: `out` has another shape, dtype or order.
        """
        source = self._sources[array]
        shape = (len(places), *source.array.clip_shape)
        if out is None:
            out = np.empty(shape, source.array.dtype)
        elif out.shape != shape or out.dtype != source.array.dtype or not out.flags.c_contiguous:
            raise ValueError(
                f"out: expected {shape} {source.array.dtype.name} in C order, got {out.shape} "
                f"{out.dtype.name}"
            )
        size = source.array.clip_bytes
        if not out.nbytes:
            return out
        target = out.data.cast("B")
        parts = snapshot.part_of[places]
        offsets = snapshot.offsets[source.array.name][places]
        # Clips that lie one behind the other are one read.
        breaks = np.flatnonzero((np.diff(parts) != 0) | (np.diff(offsets) != size)) + 1
        starts = [0, *breaks.tolist()]
        ends = [*starts[1:], len(places)]
        firsts = zip(parts[starts].tolist(), offsets[starts].tolist(), strict=True)
        for (part, offset), start, end in zip(firsts, starts, ends, strict=True):
            file = self._files.get(self._parts / snapshot.parts[part] / source.file)
            file.read_into(target[start * size : end * size], offset)
        return out

    def read_all(self, snapshot: Snapshot, places: np.ndarray) -> Sequence[np.ndarray]:
        """Every array of some clips, tokens first."""
        return [self.read(snapshot, places, array, None) for array in range(len(self._sources))]

    def forget(self) -> None:
        """Close the files kept open."""
        self._files.clear()
