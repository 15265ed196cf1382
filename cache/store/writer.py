"""Writing clips into a store: one writer, one part at a time, committed when it is full."""

from collections.abc import Sequence
from math import isfinite
from types import TracebackType
from typing import Self

import numpy as np

from stepcli.cache.parts.commit import Staging
from stepcli.cache.parts.index import TEXT_LIMIT, is_storable
from stepcli.cache.parts.interrupts import uninterrupted
from stepcli.cache.parts.open_part import OpenPart
from stepcli.cache.schema.clips import ClipRecord, Failure
from stepcli.cache.schema.manifest import Manifest
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.quantize import encode_clip
from stepcli.cache.schema.spec import Producer
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.tables.failures import FailureLog
from stepcli.runtime.errors import StoreError, TokensError
from stepcli.runtime.files import disk_errors


class StoreWriter:
    """Adds clips to a store; use it as a context manager, from one thread.

    A part is committed when it is full, on `commit()`, and when the context ends, also by an
    exception or Ctrl-C: clips that were added are whole, so they are kept.
    """

    def __init__(
        self,
        root: StoragePath,
        manifest: Manifest,
        producer: Producer,
        *,
        part_bytes: int,
        part_clips: int,
        part_seconds: float,
        generation: int = 0,
    ) -> None:
        self._root = root
        self._manifest = manifest
        self._producer = producer
        self._layout = part_layout(manifest.spec)
        self._part_clips = max(1, min(part_clips, part_bytes // self._layout.tokens.clip_bytes))
        self._part_seconds = part_seconds
        self._generation = generation
        self._staging = Staging(root)
        self._failures = FailureLog(root, self._staging.owner.unique)
        self._part: OpenPart | None = None

    def add(self, record: ClipRecord, tokens: np.ndarray) -> None:
        """Add one clip.

        Args:
            record: what extraction found out about it.
            tokens: [T, S, D], or [L, T, S, D] for several layers; floats.

        Raises:
            TokensError: the tokens do not fit the store; nothing was written.
            StoreError: the disk refused (full, read-only, gone).
        """
        self.add_stored(record, encode_clip(tokens, self._layout, record.id))

    def add_stored(self, record: ClipRecord, arrays: Sequence[np.ndarray]) -> None:
        """Add one clip that is encoded already, as `Store.read_arrays` hands it out.

        Raises:
            TokensError: its record cannot be stored; nothing was written.
            StoreError: the disk refused (full, read-only, gone).
        """
        _require_storable(record, self._manifest.spec.frames)
        with disk_errors(self._root):
            if self._part is None:
                self._part = OpenPart(
                    self._staging, self._manifest, self._part_clips, self._generation
                )
            self._part.add(record, arrays)
            self._staging.heartbeat()
        if self._part.clips >= self._part_clips or self._part.age_seconds >= self._part_seconds:
            self.commit()

    def quarantine(self, failure: Failure) -> None:
        """Record at once, and durably, that a clip could not be stored."""
        with disk_errors(self._root):
            self._failures.append(failure)

    def commit(self) -> None:
        """Close the open part and make it visible; nothing to do when no clip is waiting."""
        with uninterrupted():  # a part is minutes of work
            part, self._part = self._part, None
            if part is None:
                return
            try:
                with disk_errors(self._root):
                    if part.clips:
                        part.commit(self._producer)
                    else:
                        part.discard()
            except StoreError:
                part.discard()  # frees the space of what could not be completed
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with uninterrupted():
            try:
                self.commit()
            finally:
                self._failures.close()
                self._staging.close()


def _require_storable(record: ClipRecord, frames: int) -> None:
    """Refuse now what the index could not hold when the part is committed."""
    if len(record.pts_seconds) != frames or not all(map(isfinite, record.pts_seconds)):
        raise TokensError(
            f"clip {record.id!r}: {frames} finite frame times expected, got {record.pts_seconds}"
        )
    origin = record.origin
    beside = (origin.root, origin.path, origin.segment, origin.prefix) if origin else ()
    if not (record.id and all(map(is_storable, (record.id, record.source, *beside)))):
        raise TokensError(
            f"clip {record.id!r} of {record.source!r}: id and path must be UTF-8 of at most "
            f"{TEXT_LIMIT} bytes; rename the file"
        )
