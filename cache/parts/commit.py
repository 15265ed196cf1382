"""A part's life: staged, committed, listed, removed.

Nobody ever writes into a part that others can see. A part is a folder `parts/<generation>-<uuid>`
that appears whole: its files are written to a staging folder on this machine's disk, `part.json`
last, and then published as the storage does it: on a disk by one rename, in object storage by
uploading `part.json` last.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.parts.record import PartRecord, parse_part_record
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import Producer
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.storage.writer_identity import HEARTBEAT_SECONDS, Owner, new_owner, owned
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.files import write_synced
from stepcli.runtime.sealed_json import SEALED_LIMIT, seal

PARTS = "parts"
TOMBSTONES = "tombstones"
RECORD = "part.json"
INDEX = "index.parquet"

_NAME = re.compile(r"[0-9]{6}-[0-9a-f]{32}")


def new_part_name(generation: int) -> str:
    """A name that no other part has; names sort by generation."""
    return f"{generation:06d}-{uuid.uuid4().hex}"


def is_part_name(name: str) -> bool:
    """Whether a part can be called so."""
    return _NAME.fullmatch(name) is not None


def generation_of(name: str) -> int:
    """The generation in a part's name."""
    return int(name[:6])


def list_parts(root: StoragePath) -> list[str]:
    """Names of the committed parts in use, ascending by generation.

    Anything else in the folder is ignored, and so is a part that has a tombstone.

    A listing is no snapshot: of a folder of some 500 names or more, and of more than one page of
    objects, it may lack both a part that a compact takes away and the newer one that holds its
    clips. So it is repeated until nothing of the listing before is gone: whatever was taken away
    before that, its successor was there when the last listing began.
    """
    buried = set((root / TOMBSTONES).child_names())
    before: set[str] | None = None
    while True:
        names, in_pieces = (root / PARTS).published(RECORD)
        now = {name for name in names if _NAME.fullmatch(name)}
        if not in_pieces or (before is not None and before <= now):
            return sorted(name for name in now if f"{name}.json" not in buried)
        before = now


def read_part_record(root: StoragePath, name: str) -> PartRecord:
    """Read and check a part's record.

    Raises:
        FileNotFoundError: the part is not there (any more).
        DamagedStore: the record is not what was written.
    """
    path = root / PARTS / name / RECORD
    record = parse_part_record(path.read(SEALED_LIMIT), path)
    if record.name != name:
        raise DamagedStore(f"{path}: it describes part {record.name}, not this one")
    return record


class Staging:
    """One writer's folder of unfinished parts; no process reads it, only its owner writes it.

    It is on this machine's disk: in the store, or elsewhere if the store is in object storage.
    """

    def __init__(self, root: StoragePath) -> None:
        self.root = root
        self.owner: Owner = new_owner()
        self.folder = root.staging(self.owner.name)
        self._touched = time.monotonic()

    def new_part(self, generation: int) -> Path:
        """An empty folder for the next part, named as the part will be."""
        folder = self.make_folder() / new_part_name(generation)
        folder.mkdir()
        return folder

    def make_folder(self) -> Path:
        """Make the writer's folder, if it is not there yet; its path."""
        return self.root.staging(self.owner.name, make=True)

    def heartbeat(self) -> None:
        """Show other machines that this writer lives; cheap to call often."""
        now = time.monotonic()
        if now - self._touched > HEARTBEAT_SECONDS:
            os.utime(self.folder)
            self._touched = now

    def discard(self, part: Path) -> None:
        """Drop an unfinished part; one that has been committed after all stays."""
        shutil.rmtree(part, ignore_errors=True)

    def close(self) -> None:
        """Remove the writer's folder and whatever is left in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def commit_part(
    root: StoragePath,
    part: Path,
    *,
    form: Format,
    spec_digest: str,
    clips: int,
    files: dict[str, FileRecord],
    producer: Producer,
) -> PartRecord:
    """Make a staged part visible, whole, and safe from a power cut.

    Args:
        root: the store's folder.
        part: the staged folder; its name becomes the part's.
        form: format of its tokens.
        spec_digest: of the store's spec.
        clips: how many it holds.
        files: size and digest of every file in `part`.
        producer: what made the tokens.
    """
    record = PartRecord(
        name=part.name,
        format=form,
        spec_digest=spec_digest,
        clips=clips,
        files=files,
        producer=producer,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    write_synced(part / RECORD, seal(record.model_dump(mode="json")))
    publish_part(root, part, record)
    return record


def publish_part(root: StoragePath, part: Path, record: PartRecord) -> int:
    """Make a staged part that is complete, its record included, visible and durable.

    Returns:
        Bytes sent over the network.
    """
    sizes = {path: file.size for path, file in record.files.items()}
    return (root / PARTS / part.name).publish(part, sizes, RECORD)


def remove_part(root: StoragePath, name: str, staging: Staging) -> None:
    """Delete a part; no reader ever sees a piece of it."""
    (root / PARTS / name).withdraw(staging.make_folder, RECORD)


def sweep_staging(root: StoragePath) -> list[str]:
    """Delete the staging folders of dead owners, and parts that they began to publish.

    Returns:
        Names of the folders and parts.
    """
    return root.sweep_staging(PARTS, RECORD, is_part_name)


def staging_owners(root: StoragePath) -> Iterator[tuple[Owner, Path]]:
    """Every staging folder of the store, as far as it can be seen from here."""
    return owned(root.staging_folders())
