"""The part that a writer is filling: tokens streamed to staging, rows kept until the commit."""

import time
from pathlib import Path

import google_crc32c
import numpy as np

from stepcli.cache.clips import ClipRecord
from stepcli.cache.durable import write_synced
from stepcli.cache.formats import open_token_writer
from stepcli.cache.index import IndexRow, encode_index
from stepcli.cache.manifest import Manifest
from stepcli.cache.parts import INDEX, FileRecord, PartRecord, Staging, commit_part
from stepcli.cache.spec import Producer
from stepcli.cache.token_layout import layout_of


class OpenPart:
    """One part in the making. A clip counts once its row is in: `add` leaves no half clip."""

    def __init__(
        self, staging: Staging, manifest: Manifest, planned_clips: int, generation: int = 0
    ) -> None:
        self._staging = staging
        self._manifest = manifest
        self._folder: Path = staging.new_part(generation)
        self._tokens = open_token_writer(
            manifest.format, self._folder, layout_of(manifest.spec), planned_clips
        )
        self._rows: list[IndexRow] = []
        self._opened = time.monotonic()

    @property
    def clips(self) -> int:
        """Whole clips so far."""
        return len(self._rows)

    @property
    def age_seconds(self) -> float:
        """Since the part was begun."""
        return time.monotonic() - self._opened

    def add(self, record: ClipRecord, stored: np.ndarray) -> None:
        """Append a clip that is encoded as the store keeps it."""
        checksum = google_crc32c.value(stored)
        offset = self._tokens.append(stored)
        self._rows.append(IndexRow(record, offset, checksum))

    def commit(self, producer: Producer) -> PartRecord:
        """Complete the files and make the part visible."""
        files = self._tokens.finish(len(self._rows))
        index = encode_index(self._rows)
        write_synced(self._folder / INDEX, index)
        files[INDEX] = FileRecord.of_bytes(index)
        return commit_part(
            self._staging.root,
            self._folder,
            form=self._manifest.format,
            spec_digest=self._manifest.spec_digest,
            clips=len(self._rows),
            files=files,
            producer=producer,
        )

    def discard(self) -> None:
        """Drop the part and free its space."""
        self._tokens.close()
        self._staging.discard(self._folder)
