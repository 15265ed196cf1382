"""A feature store: open it, create it, read clips from it, write clips into it.

Source of the layout: docs/store-format.md.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from stepcli.cache import tables
from stepcli.cache.clips import ClassRow, ClipRecord, ClipRow, Failure
from stepcli.cache.durable import disk_errors
from stepcli.cache.errors import ClipNotFound, DamagedStore, UsageError
from stepcli.cache.failures import read_failures
from stepcli.cache.formats import token_file
from stepcli.cache.index import record_at
from stepcli.cache.manifest import Format, Manifest, create_manifest, read_manifest
from stepcli.cache.parts import PARTS, list_parts, sweep_staging
from stepcli.cache.ranges import FilePool
from stepcli.cache.snapshot import Snapshot, read_index, take_snapshot
from stepcli.cache.spec import Producer, StoreSpec, require_same_spec
from stepcli.cache.token_layout import layout_of
from stepcli.cache.writer import StoreWriter


def open_store(path: str | Path) -> "Store":
    """Open a store for reading and writing.

    Raises:
        StoreNotFound: there is no manifest at `path`.
        DamagedStore: its manifest or an index is not what was written.
    """
    root = Path(path)
    return Store(root, read_manifest(root))


def create_store(
    path: str | Path,
    spec: StoreSpec,
    *,
    dataset: str,
    format: Format | None = None,  # noqa: A002 (named as the option is)
) -> "Store":
    """Create a store, or open the one that is there if it agrees in everything.

    Args:
        path: the store's folder; made when missing.
        spec: what determines its tokens.
        dataset: name of the data set whose clips it holds.
        format: "zarr" or "hdf5"; None takes the existing store's, else "zarr".

    Raises:
        SpecMismatch: the store there has another spec; the message names each field.
        UsageError: it holds another data set, or has another format than asked for.
    """
    root = Path(path)
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        create_manifest(root, spec, dataset, format or "zarr")
    manifest = read_manifest(root)
    require_same_spec(manifest.spec, spec, str(root))
    if manifest.dataset != dataset:
        raise UsageError(
            f"the store {root} holds data set {manifest.dataset!r}, this run is on {dataset!r}; "
            "give another --store"
        )
    if format is not None and manifest.format != format:
        raise UsageError(
            f"the store {root} has format {manifest.format}, asked was {format}; leave --format "
            "out, or give another --store"
        )
    return Store(root, manifest)


class Store:
    """One feature store. Reading is safe from threads, forked and spawned processes.

    A store sees the clips that were committed when it was opened or last refreshed.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self._manifest = manifest
        self._layout = layout_of(manifest.spec)
        self._token_file = token_file(manifest.format, self._layout)
        self._files = FilePool()
        self._snapshot = take_snapshot(path, manifest)

    def __reduce__(self) -> tuple[object, ...]:
        # A worker opens the store itself: no descriptor, lock or index travels to it.
        return open_store, (str(self.path),)

    @property
    def spec(self) -> StoreSpec:
        """What determines the tokens."""
        return self._manifest.spec

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self._manifest.dataset

    @property
    def format(self) -> Format:
        """Format of the parts' tokens: "zarr" or "hdf5"."""
        return self._manifest.format

    @property
    def fingerprint(self) -> str:
        """sha256 of spec, clip ids and checksums: identifies the tokens, not the file layout."""
        return self._snapshot.fingerprint(self._manifest.spec_digest)

    @property
    def dtype(self) -> np.dtype:
        """NumPy type of what `read` returns."""
        return self._layout.storage_dtype

    @property
    def ids(self) -> list[str]:
        """Committed clips, sorted; do not change the list."""
        return self._snapshot.ids

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the committed parts, ascending."""
        return self._snapshot.parts

    def __len__(self) -> int:
        return len(self._snapshot.ids)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._snapshot.positions

    def refresh(self) -> None:
        """Pick up what has been committed, or compacted, since."""
        if tuple(list_parts(self.path)) != self._snapshot.parts:
            self._snapshot = take_snapshot(self.path, self._manifest)
            self._files.clear()

    def read(self, clips: Sequence[str] | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Copy clips' tokens into memory.

        Args:
            clips: ids, or positions in `ids` as an integer array.
            out: where to: [n, *spec.clip_shape] of the store's dtype, C order; made when None.

        Returns:
            `out`.

        Raises:
            ClipNotFound: an id is not committed.
            DamagedStore: a token file ends too early or is missing.
            ValueError: `out` has another shape, dtype or order; a position is out of range.
        """
        try:
            return self._read(self._snapshot, clips, out)
        except FileNotFoundError:
            pass
        # A part was compacted away under this reader: its clips are in another part now.
        wanted = [self.ids[i] for i in clips] if isinstance(clips, np.ndarray) else clips
        self.refresh()
        try:
            return self._read(self._snapshot, wanted, out)
        except FileNotFoundError as error:
            raise DamagedStore(
                f"{error.filename}: this file of a committed part is missing; run stepcli store "
                "verify, then repair"
            ) from None

    def _read(
        self, snapshot: Snapshot, clips: Sequence[str] | np.ndarray, out: np.ndarray | None
    ) -> np.ndarray:
        places = self._positions(snapshot, clips)
        shape = (len(places), *self._layout.clip_shape)
        if out is None:
            out = np.empty(shape, self.dtype)
        elif out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(
                f"out: expected {shape} {self.dtype.name} in C order, got {out.shape} "
                f"{out.dtype.name}"
            )
        if not places.size:
            return out
        target = out.data.cast("B")
        size = self._layout.clip_bytes
        parts = snapshot.part_of[places].tolist()
        offsets = snapshot.offset_of[places].tolist()
        for i, (part, offset) in enumerate(zip(parts, offsets, strict=True)):
            file = self._files.get(self.path / PARTS / snapshot.parts[part] / self._token_file)
            file.read_into(target[i * size : (i + 1) * size], offset)
        return out

    def record(self, clip_id: str) -> ClipRecord:
        """What extraction found out about a clip.

        Raises:
            ClipNotFound: it is not committed.
        """
        place = int(self._positions(self._snapshot, [clip_id])[0])
        part = self._snapshot.parts[self._snapshot.part_of[place]]
        table = read_index(self.path, part, self._manifest)
        return record_at(table, int(self._snapshot.row_of[place]))

    def _positions(self, snapshot: Snapshot, clips: Sequence[str] | np.ndarray) -> np.ndarray:
        if isinstance(clips, np.ndarray):
            if clips.dtype.kind not in "iu" or clips.ndim != 1:
                raise ValueError(f"positions: a list of integers expected, got {clips.dtype}")
            if clips.size and (clips.min() < 0 or clips.max() >= len(snapshot.ids)):
                raise ValueError(f"positions: expected 0 to {len(snapshot.ids) - 1}")
            return clips
        try:
            return np.array([snapshot.positions[clip] for clip in clips], np.int64)
        except KeyError as error:
            raise ClipNotFound(
                f"the store {self.path} holds no clip {error.args[0]!r}; extract it, or see "
                "stepcli store ls"
            ) from None

    def clips(self) -> list[ClipRow]:
        """The clips table: all clips of the data set, committed or not."""
        return tables.read_clips(self.path)

    def classes(self) -> list[ClassRow]:
        """The classes table, by index."""
        return tables.read_classes(self.path)

    def add_clips(self, rows: Iterable[ClipRow]) -> list[ClipRow]:
        """Add the clips that the table lacks; existing lines belong to the user and stay.

        Returns:
            Those of `rows` whose line in the table says something else.
        """
        with disk_errors(self.path):
            return tables.add_clips(self.path, rows)

    def replace_clips(self, rows: Sequence[ClipRow]) -> None:
        """Replace the clips table."""
        with disk_errors(self.path):
            tables.replace_clips(self.path, rows)

    def replace_classes(self, rows: Sequence[ClassRow]) -> None:
        """Replace the classes table."""
        with disk_errors(self.path):
            tables.replace_classes(self.path, rows)

    def quarantined(self) -> dict[str, Failure]:
        """The latest failure by clip id; a clip that is committed is in quarantine no more."""
        failures = read_failures(self.path)
        return {clip: failure for clip, failure in failures.items() if clip not in self}

    def writer(
        self,
        producer: Producer,
        *,
        part_bytes: int = 1 << 30,
        part_clips: int = 4096,
        part_seconds: float = 300.0,
    ) -> StoreWriter:
        """A writer; a part is committed at the first of the three limits.

        Staging of writers that died on this machine is swept first.
        """
        with disk_errors(self.path):
            sweep_staging(self.path)
        return StoreWriter(
            self.path,
            self._manifest,
            producer,
            part_bytes=part_bytes,
            part_clips=part_clips,
            part_seconds=part_seconds,
        )
