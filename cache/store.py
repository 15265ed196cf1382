"""A feature store: open it, create it, read clips from it, write clips into it.

Source of the layout: docs/store-format.md.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from stepcli.cache import tables
from stepcli.cache.clips import ClassRow, ClipRecord, ClipRow, Failure
from stepcli.cache.durable import Place, disk_errors
from stepcli.cache.errors import DamagedStore, UsageError
from stepcli.cache.failures import read_failures
from stepcli.cache.formats.compression import Compression
from stepcli.cache.formats.layout import layout_of
from stepcli.cache.manifest import Format, Manifest, create_manifest, read_manifest
from stepcli.cache.parts.folders import list_parts, sweep_staging
from stepcli.cache.quantize import decode_clips
from stepcli.cache.reading.clip_reader import ClipReader
from stepcli.cache.reading.snapshot import Clips, Snapshot, read_record
from stepcli.cache.reading.take_snapshot import take_snapshot
from stepcli.cache.remote.objects import place_of
from stepcli.cache.spec import Producer, StoreSpec, require_same_spec
from stepcli.cache.writer import StoreWriter

if TYPE_CHECKING:
    from stepcli.cache.reading.token_view import TokenView

_Read = TypeVar("_Read")


def open_store(path: Place | str) -> "Store":
    """Open a store for reading and writing.

    Raises:
        StoreNotFound: there is no manifest at `path`.
        DamagedStore: its manifest or an index is not what was written.
    """
    root = place_of(path)
    return Store(root, read_manifest(root))


def create_store(
    path: Place | str,
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
        if isinstance(root, Path):
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

    def __init__(self, path: Place, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._layout = layout_of(manifest.spec)
        self._reader = ClipReader(path, manifest.format, self._layout)
        self._digests: dict[str, str] = {}
        self._snapshot = take_snapshot(path, manifest)

    def __reduce__(self) -> tuple[object, ...]:
        # A worker opens the store itself: no descriptor, lock or index travels to it.
        return open_store, (str(self.path),)

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
        """Pick up what has been committed, or compacted, since."""
        if tuple(list_parts(self.path)) != self._snapshot.parts:
            self._snapshot = take_snapshot(self.path, self.manifest)
            self._reader.forget()

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
            ValueError: `out` has another shape, dtype or order; a position is out of range.
        """
        return self._following(
            clips, lambda snapshot, places: self._reader.read(snapshot, places, 0, out)
        )

    def read_arrays(self, clips: Clips) -> Sequence[np.ndarray]:
        """Copy clips' tokens and what belongs to them, as stored.

        Returns:
            [tokens], for int8 [tokens, scales], for int8-channel [tokens, scales,
            channel_scales]: shapes [n, *clip_shape], [n, (L,) T, S], [n, (L,) D].
        """
        return self._following(clips, self._reader.read_all)

    def read_floats(self, clips: Clips, out: np.ndarray | None = None) -> np.ndarray:
        """Copy clips' tokens into memory as float32, whatever the store's dtype.

        Args:
            clips: ids, or positions in `ids` as an integer array.
            out: float32 [n, *spec.clip_shape]; made when None.
        """
        return decode_clips(self.read_arrays(clips), self._layout, out)

    def view(
        self,
        tokens: str | None = None,
        *,
        layers: Sequence[int] | None = None,
        frame_step: int = 1,
    ) -> "TokenView":
        """The same clips with fewer tokens, reduced while reading.

        Args:
            tokens: names as for extraction, e.g. "cls,grid4"; None: all that is stored.
            layers: of those stored; None: all.
            frame_step: keep every n-th frame: a sampling rule of its own, and named so.

        Raises:
            UsageError: what is asked cannot be made exactly from what is stored.
        """
        from stepcli.cache.reading.token_view import TokenView

        return TokenView(self, tokens, layers, frame_step)

    def storage_order(self, clips: Sequence[str]) -> list[str]:
        """Ids in the order in which their tokens lie on disk: read so, they are read fastest."""
        snapshot = self._snapshot
        places = snapshot.places(clips, self.path)
        order = np.lexsort((snapshot.row_of[places], snapshot.part_of[places]))
        return [clips[place] for place in order]

    def _following(self, clips: Clips, read: Callable[[Snapshot, np.ndarray], _Read]) -> _Read:
        """Read; where a part was compacted away under this reader, refresh and read again."""
        snapshot = self._snapshot
        try:
            return read(snapshot, snapshot.places(clips, self.path))
        except FileNotFoundError:
            wanted = [snapshot.ids[i] for i in clips] if isinstance(clips, np.ndarray) else clips
        self.refresh()
        snapshot = self._snapshot
        try:
            return read(snapshot, snapshot.places(wanted, self.path))
        except FileNotFoundError as error:
            raise DamagedStore(
                f"{error.filename}: this file of a committed part is missing; run stepcli store "
                "verify, then repair"
            ) from None

    def record(self, clip_id: str) -> ClipRecord:
        """What extraction found out about a clip.

        Raises:
            ClipNotFound: it is not committed.
        """
        return read_record(self.path, self._snapshot, clip_id, self.manifest)

    def clips(self) -> list[ClipRow]:
        """The clips table: all clips of the data set, committed or not.

        Raises:
            DamagedStore: it cannot be read, or there was one and it is gone.
        """
        return self._read_table(tables.CLIP_TABLE)

    def classes(self) -> list[ClassRow]:
        """The classes table, by index; errors as of `clips`."""
        return self._read_table(tables.CLASS_TABLE)

    def _read_table(self, table: tables.Table[tables.Row]) -> list[tables.Row]:
        rows, self._digests[table.name] = tables.read_table(self.path, table)
        return rows

    def add_clips(self, rows: Iterable[ClipRow]) -> list[ClipRow]:
        """Add the clips that the table lacks; existing lines belong to the user and stay.

        Returns:
            Those of `rows` whose line in the table says something else.
        """
        with disk_errors(self.path):
            return tables.add_clips(self.path, rows)

    def add_classes(self, rows: Sequence[ClassRow]) -> None:
        """Write the classes where the table has none; existing lines belong to the user."""
        with disk_errors(self.path):
            tables.add_classes(self.path, rows)

    def change_clips(self, change: Callable[[list[ClipRow]], Sequence[ClipRow]]) -> None:
        """Change the clips table; changes that others make at the same time stay.

        Args:
            change: from the newest rows to those that are to be. It may be called again.
        """
        self._change(tables.CLIP_TABLE, change)

    def change_classes(self, change: Callable[[list[ClassRow]], Sequence[ClassRow]]) -> None:
        """Change the classes table; as `change_clips`."""
        self._change(tables.CLASS_TABLE, change)

    def replace_clips(self, rows: Sequence[ClipRow]) -> None:
        """Replace the clips table whole.

        Raises:
            StoreError: `clips` was called, and the table has been changed since: `rows` may lack
                that change.
        """
        self._change(tables.CLIP_TABLE, lambda _: rows, self._digests.get(tables.CLIPS, ""))

    def replace_classes(self, rows: Sequence[ClassRow]) -> None:
        """Replace the classes table whole; as `replace_clips`."""
        self._change(tables.CLASS_TABLE, lambda _: rows, self._digests.get(tables.CLASSES, ""))

    def _change(
        self,
        table: tables.Table[tables.Row],
        change: Callable[[list[tables.Row]], Sequence[tables.Row]],
        expected: str = "",
    ) -> None:
        with disk_errors(self.path):
            digest = tables.change_table(self.path, table, change, expected=expected)
        if expected:
            self._digests[table.name] = digest

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
        compression: Compression = "none",
    ) -> StoreWriter:
        """A writer; a part is committed at the first of the three limits.

        Staging of writers that died on this machine is swept first. Compressed parts ("zstd",
        "gzip") are read through the format's library: smaller, and much slower to read.
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
            compression=compression,
        )
