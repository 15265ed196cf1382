"""A feature store: open it, create it, read clips from it, write clips into it.

Source of the layout: docs/store-format.md.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from stepcli.cache.parts.commit import list_parts, sweep_staging
from stepcli.cache.schema.clips import ClipRecord, Failure
from stepcli.cache.schema.manifest import Format, Manifest, create_manifest, read_manifest
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.quantize import decode_clips
from stepcli.cache.schema.spec import Producer, StoreSpec, require_same_spec
from stepcli.cache.storage.path import Location, StoragePath
from stepcli.cache.storage.places import place_of
from stepcli.cache.store.clip_reader import ClipReader
from stepcli.cache.store.clip_records import RecordReader
from stepcli.cache.store.part_arrays import PartArrays
from stepcli.cache.store.record_columns import RecordColumns
from stepcli.cache.store.snapshot import Clips, Snapshot
from stepcli.cache.store.store_tables import StoreTables
from stepcli.cache.store.take_snapshot import take_snapshot
from stepcli.cache.store.writer import StoreWriter
from stepcli.cache.tables.failures import read_failures
from stepcli.runtime.errors import ClipNotFound, DamagedStore, UsageError
from stepcli.runtime.files import disk_errors

_Read = TypeVar("_Read")


def open_store(path: Location) -> "Store":
    """Open a store for reading and writing.

    Raises:
        StoreNotFound: there is no manifest at `path`.
        DamagedStore: its manifest or an index is not what was written.
    """
    root = place_of(path)
    return Store(root, read_manifest(root), saves_index=root.index_on_open)


def create_store(
    path: Location,
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
    root = place_of(path)
    with disk_errors(root):
        root.prepare()
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
            f"the store {root} has format {manifest.format}, not {format}; leave --format "
            "out, or give another --store"
        )
    return Store(root, manifest, saves_index=True)


def _open_with_ids(path: StoragePath, ids: list[str]) -> "Store":
    store = open_store(path)
    store._keep_ids(ids)
    return store


class Store(StoreTables):
    """One feature store. Reading is safe from threads, forked and spawned processes.

    A store sees the clips that were committed when it was opened or last refreshed. Their positions
    in `ids` stay what they are until `refresh`, also where parts are merged or compacted meanwhile,
    and in processes that the store is sent to.
    """

    def __init__(self, path: StoragePath, manifest: Manifest, *, saves_index: bool = False) -> None:
        super().__init__(path)
        self.manifest = manifest
        self._layout = part_layout(manifest.spec)
        self._reader = ClipReader(path, manifest.format, self._layout)
        self._records = RecordReader(path, manifest, saves=saves_index)
        self._saves_index = saves_index
        self._snapshot = take_snapshot(path, manifest, save=saves_index)
        self._located = False
        """Whether the snapshot has the ids of an older one, or of another process."""
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        # A worker opens the store itself: no descriptor, lock or index travels to it. The ids do,
        # since positions among them may.
        return _open_with_ids, (self.path, self.ids)

    @property
    def spec(self) -> StoreSpec:
        """What determines the tokens."""
        return self.manifest.spec

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.manifest.dataset

    @property
    def format(self) -> Format:
        """Format of the parts' tokens: "zarr" or "hdf5"."""
        return self.manifest.format

    @property
    def fingerprint(self) -> str:
        """sha256 of spec, clip ids and checksums: identifies the tokens, not the file layout."""
        return self._snapshot.fingerprint(self.manifest.spec_digest)

    @property
    def dtype(self) -> np.dtype:
        """NumPy type of what `read` returns."""
        return self._layout.tokens.dtype

    @property
    def snapshot(self) -> Snapshot:
        """What this store has seen: immutable, replaced by `refresh`."""
        return self._snapshot

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
        """Pick up what has been committed, or compacted, since; clips get new positions."""
        if self._located or tuple(list_parts(self.path)) != self._snapshot.parts:
            fresh = take_snapshot(self.path, self.manifest, save=self._saves_index)
            with self._lock:
                self._snapshot, self._located = fresh, False
            self._reader.forget()
            self._records.forget()

    def save_index(self) -> None:
        """Write the index of all parts that lets the next open the store at once.

        On a disk each process that opens the store does that; in object storage the writers of
        parts do. Where it cannot be written, nothing happens.
        """
        take_snapshot(self.path, self.manifest, save=True)

    def _keep_ids(self, ids: list[str]) -> None:
        """Number the clips as another process does, which opened the store earlier or later."""
        if self._snapshot.ids != ids:
            self._snapshot, self._located = self._snapshot.with_ids(ids), True

    def read(self, clips: Clips, out: np.ndarray | None = None) -> np.ndarray:
        """Copy clips' tokens into memory as they are stored.

        Args:
            clips: ids, or positions in `ids` as an integer array.
            out: where to: [n, *spec.clip_shape] of type `dtype`, C order; made when None.

        Returns:
            `out`. bfloat16 comes as its bits (uint16), int8 without its scales.

        Raises:
            ClipNotFound: an id is not committed.
            DamagedStore: a token file ends too early or is missing.
            StoreError: a clip is in a compressed part.
            ValueError: `out` has another shape, dtype or order; a position is out of range.
        """
        return self._following(
            clips, lambda snapshot, places: self._reader.read(snapshot, places, 0, out)
        )

    def read_arrays(
        self, clips: Clips, outs: Sequence[np.ndarray] | None = None
    ) -> Sequence[np.ndarray]:
        """Copy clips' tokens and what belongs to them, as stored; into `outs` if given.

        Returns:
            [tokens], for int8 [tokens, scales], for int8-channel [tokens, scales,
            channel_scales]: shapes [n, *clip_shape], [n, (L,) T, S], [n, (L,) D].
        """
        return self._following(
            clips, lambda snapshot, places: self._reader.read_all(snapshot, places, outs)
        )

    def read_floats(self, clips: Clips, out: np.ndarray | None = None) -> np.ndarray:
        """Copy clips' tokens into memory as float32, whatever the store's dtype.

        Args:
            clips: ids, or positions in `ids` as an integer array.
            out: float32 [n, *spec.clip_shape]; made when None.
        """
        return decode_clips(self.read_arrays(clips), self._layout, out)

    def arrays(self, name: str = "tokens") -> PartArrays:
        """Hand out the parts' arrays as zarr.Array or h5py.Dataset, read-only, by part.

        Each is opened when it is taken from the mapping. `locate` tells part and row of a clip.

        Args:
            name: "tokens"; of int8 stores also "scales", of int8-channel "channel_scales".

        Raises:
            UsageError: the store has no such array.
        """
        known = [array.name for array in self._layout.arrays]
        if name not in known:
            raise UsageError(
                f"the store {self.path} has no array {name!r}; it has {', '.join(known)}"
            )
        return PartArrays(self.path, self.format, self.parts, name)

    def locate(self, clip_id: str) -> tuple[str, int]:
        """Name of the part that holds a clip, and its row in the part's arrays.

        Raises:
            ClipNotFound: it is not committed.
        """
        snapshot = self._snapshot
        (place,) = snapshot.places([clip_id], self.path).tolist()
        return snapshot.parts[snapshot.part_of[place]], int(snapshot.row_of[place])

    def storage_order(self, clips: Sequence[str]) -> list[str]:
        """Ids in the order in which their tokens lie on disk: read so, they are read fastest."""
        snapshot = self._snapshot
        places = snapshot.places(clips, self.path)
        order = np.lexsort((snapshot.row_of[places], snapshot.part_of[places]))
        return [clips[place] for place in order]

    def _following(self, clips: Clips, read: Callable[[Snapshot, np.ndarray], _Read]) -> _Read:
        """Read; where a part was compacted away under this reader, find its clips by their ids.

        No clip gets another position by that: the caller may hold some.
        """
        snapshot = self._snapshot
        places = snapshot.places(clips, self.path)
        looked_at: tuple[str, ...] | None = None
        while True:
            try:
                return read(snapshot, places)
            except FileNotFoundError as error:
                newer = take_snapshot(self.path, self.manifest, save=self._saves_index)
                lost = [
                    clip
                    for place in places.tolist()
                    if (clip := snapshot.ids[place]) not in newer.positions
                ]
                if lost:
                    raise ClipNotFound(
                        f"the store {self.path} holds clip {lost[0]!r} no more; extract it again"
                    ) from None
                if newer.parts == looked_at:  # nothing has changed, so no one moved it
                    raise DamagedStore(
                        f"{error.filename}: this file of a committed part is missing; run stepcli "
                        "store verify, then repair"
                    ) from None
            looked_at = newer.parts
            located = snapshot.located_by(newer)
            with self._lock:
                if self._snapshot is snapshot:  # else refreshed meanwhile, or located by a thread
                    self._snapshot, self._located = located, True
            snapshot = located
            self._reader.forget()

    def record(self, clip_id: str) -> ClipRecord:
        """What extraction found out about a clip.

        Raises:
            ClipNotFound: it is not committed.
        """
        return self.records([clip_id])[0]

    def records(self, clips: Clips) -> list[ClipRecord]:
        """What extraction found out about clips, in their order; errors as of `record_columns`."""
        return self.record_columns(clips).records()

    def record_columns(self, clips: Clips) -> RecordColumns:
        """The same as arrays; few files are read, however many parts the clips lie in.

        Args:
            clips: ids, or positions in `ids` as an integer array.

        Raises:
            ClipNotFound: an id is not committed.
            DamagedStore: a part's index is not what was written.
        """
        return self._following(clips, self._records.read)

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
        generation: int = 0,
    ) -> StoreWriter:
        """A writer; a part is committed at the first of the three limits.

        Staging of writers that died on this machine is swept first. Of copies of a clip, the
        one in the part of the highest generation counts.
        """
        with disk_errors(self.path):
            sweep_staging(self.path)
        return StoreWriter(
            self.path,
            self.manifest,
            producer,
            part_bytes=part_bytes,
            part_clips=part_clips,
            part_seconds=part_seconds,
            generation=generation,
        )
