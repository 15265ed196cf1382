"""What extraction found out about many clips, column by column."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stepcli.cache.parts.index import records_of
from stepcli.cache.schema.clips import ClipRecord
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.parquet_tables import numbers


@dataclass(frozen=True)
class RecordColumns:
    """Records of n clips as arrays: a tenth of the memory and time that n `ClipRecord` take."""

    table: pa.Table
    """Columns named as the fields of `ClipRecord`, `origin` excepted."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def ids(self) -> list[str]:
        """Of the clips."""
        ids: list[str] = self.table["id"].to_pylist()
        return ids

    @property
    def sources(self) -> list[str]:
        """Paths of the videos, as read."""
        paths: list[str] = self.table["source"].to_pylist()
        return paths

    @property
    def pts_seconds(self) -> np.ndarray:
        """[n, T] float64: time of each stored frame since the video's first frame, seconds.

        Raises:
            DamagedStore: clips have different numbers of frames.
        """
        times = self.table["pts_seconds"].combine_chunks()
        lengths = np.unique(numbers(pc.list_value_length(times)))
        if len(lengths) > 1:
            raise DamagedStore(f"clips of one store with {lengths[0]} and {lengths[1]} frames")
        return np.array(numbers(times.flatten())).reshape(len(self), -1 if len(self) else 0)

    @property
    def distinct_frames(self) -> np.ndarray:
        """[n] int32: how many of a clip's T frames differ."""
        return numbers(self.table["distinct_frames"])

    @property
    def frame_sizes(self) -> np.ndarray:
        """[n, 2] int32: height and width in pixels, as decoded."""
        return np.stack([numbers(self.table[f"frame_{side}"]) for side in ("height", "width")], 1)

    def records(self) -> list[ClipRecord]:
        """One record per clip, in their order."""
        with _without_collection():
            return records_of(self.table)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Records hold no cycles, and looking for some among a million new objects takes as long as
    making them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
