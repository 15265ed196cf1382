"""The part that a writer is filling: tokens streamed to staging, rows kept until the commit."""

import time
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import numpy as np

from stepcli.cache.parts.commit import INDEX, Staging, commit_part
from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.parts.format_registry import open_token_writer
from stepcli.cache.parts.index import encode_index
from stepcli.cache.parts.record import PartRecord
from stepcli.cache.parts.sources import SOURCES, encode_sources
from stepcli.cache.schema.clips import ClipRecord
from stepcli.cache.schema.manifest import FILE_NAME as MANIFEST
from stepcli.cache.schema.manifest import Manifest, manifest_bytes
from stepcli.cache.schema.part_layout import part_layout
from stepcli.cache.schema.spec import Producer


class OpenPart:
    """One part in the making. A clip counts once its row is in: `add` leaves no half clip."""

    def __init__(
        self,
        staging: Staging,
        manifest: Manifest,
        planned_clips: int,
        generation: int,
    ) -> None:
        self._staging = staging
        self._manifest = manifest
        self._layout = part_layout(manifest.spec)
        self._folder: Path = staging.new_part(generation)
        self._tokens = open_token_writer(manifest.format, self._folder, self._layout, planned_clips)
        self._records: list[ClipRecord] = []
        self._checksums: list[int] = []
        self._opened = time.monotonic()

    @property
    def clips(self) -> int:
        """Whole clips so far."""
        return len(self._checksums)

    @property
    def age_seconds(self) -> float:
        """Since the part was begun."""
        return time.monotonic() - self._opened

    def add(self, record: ClipRecord, arrays: Sequence[np.ndarray]) -> None:
        """Append a clip that is encoded as the store keeps it."""
        checksum = clip_checksum(arrays)
        # The checksum comes last and makes the clip count: an interrupt before it leaves what
        # the next clip, or the commit, writes over.
        self._tokens.write(self.clips, arrays)
        self._records[self.clips :] = [record]
        self._checksums.append(checksum)

    def commit(self, producer: Producer) -> PartRecord:
        """Complete the files and make the part visible."""
        finished = self._tokens.finish(self.clips)
        records = self._records[: self.clips]
        index = encode_index(records, finished.offsets, self._checksums, self._layout)
        manifest = manifest_bytes(self._manifest)
        # Made durable with the tokens, all files together, when the part is published.
        beside = {INDEX: index, MANIFEST: manifest}
        if any(record.origin is not None for record in records):
            beside[SOURCES] = encode_sources(records)
        for name, content in beside.items():
            (self._folder / name).write_bytes(content)
        return commit_part(
            self._staging.root,
            self._folder,
            form=self._manifest.format,
            spec_digest=self._manifest.spec_digest,
            clips=self.clips,
            files={
                **finished.files,
                **{name: FileRecord.of_bytes(content) for name, content in beside.items()},
            },
            producer=producer,
        )

    def discard(self) -> None:
        """Drop the part and free its space."""
        self._tokens.close()
        self._staging.discard(self._folder)


def clip_checksum(arrays: Sequence[np.ndarray]) -> int:
    """crc32c over a clip's arrays, one after the other."""
    checksum = 0
    for array in arrays:
        checksum = google_crc32c.extend(checksum, array)
    return int(checksum)
