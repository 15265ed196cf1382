"""A part's life on a disk: staged, committed by one rename, listed, swept.

Nobody ever writes into a part that others can see. A part is a folder `parts/<generation>-<uuid>`
that appears whole: its files are fsynced in `.staging/<owner>/`, `part.json` last, and the folder
is then renamed into place.
"""

import errno
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.parts.record import PartRecord, parse_part_record
from stepcli.cache.parts.uploads import sweep_uploads, upload_part
from stepcli.cache.parts.writer_identity import (
    HEARTBEAT_SECONDS,
    Owner,
    is_dead,
    new_owner,
    parse_owner,
)
from stepcli.cache.schema.manifest import Format
from stepcli.cache.schema.spec import Producer
from stepcli.cache.storage.files import Place, delete_file, list_names, read_regular
from stepcli.cache.storage.objects import ObjectPath
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.files import (
    SEALED_LIMIT,
    fsync_folder,
    own_folder,
    reading,
    seal,
    sync_all,
    write_synced,
)

PARTS = "parts"
STAGING = ".staging"
ELSEWHERE = "stepcli-"
"""How staging folders begin that lie in the system's temporary folder."""
TOMBSTONES = "tombstones"
RECORD = "part.json"
PAGE = 1000
"""Objects that a server lists at once."""
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


def list_parts(root: Place) -> list[str]:
    """Names of the committed parts in use, ascending by generation.

    Anything else in the folder is ignored, and so is a part that has a tombstone.

    A listing is no snapshot: of a folder of some 500 names or more, and of more than one page of
    objects, it may lack both a part that a compact takes away and the newer one that holds its
    clips. So it is repeated until nothing of the listing before is gone: whatever was taken away
    before that, its successor was there when the last listing began.
    """
    buried = set(list_names(root, TOMBSTONES))
    before: set[str] | None = None
    while True:
        now, in_pieces = _listed(root)
        if not in_pieces or (before is not None and before <= now):
            return sorted(name for name in now if f"{name}.json" not in buried)
        before = now


def _listed(root: Place) -> tuple[set[str], bool]:
    """Names of parts, whole or not, and whether the listing may have come in pieces."""
    if isinstance(root, ObjectPath):
        paths = (root / PARTS).names()
        in_pieces = len(paths) >= PAGE
        whole = [path for path in paths if path.endswith(f"/{RECORD}")]
        names = [path.removesuffix(f"/{RECORD}") for path in whole]
    else:
        in_pieces = True  # how many names the system reads at once depends on its kind and mount
        try:
            with reading(root / PARTS), os.scandir(own_folder(root, PARTS)) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return set(), False
    return {name for name in names if _NAME.fullmatch(name)}, in_pieces


def read_part_record(root: Place, name: str) -> PartRecord:
    """Read and check a part's record.

    Raises:
        FileNotFoundError: the part is not there (any more).
        DamagedStore: the record is not what was written.
    """
    path = root / PARTS / name / RECORD
    record = parse_part_record(read_regular(path, SEALED_LIMIT), path)
    if record.name != name:
        raise DamagedStore(f"{path}: it describes part {record.name}, not this one")
    return record


class Staging:
    """One writer's folder of unfinished parts; nobody reads it, its owner alone writes it.

    It lies in the store, or for a store in object storage in the system's temporary folder.
    """

    def __init__(self, root: Place) -> None:
        self.root = root
        self.owner: Owner = new_owner()
        if isinstance(root, ObjectPath):
            self.folder = Path(tempfile.gettempdir()) / (ELSEWHERE + self.owner.name)
        else:
            self.folder = root / STAGING / self.owner.name
        self._touched = time.monotonic()

    def new_part(self, generation: int) -> Path:
        """An empty folder for the next part, named as the part will be."""
        self.make_folder()
        folder = self.folder / new_part_name(generation)
        folder.mkdir()
        return folder

    def make_folder(self) -> None:
        """Make the writer's folder, if it is not there yet."""
        if not isinstance(self.root, ObjectPath):
            own_folder(self.root, STAGING, create=True)
            # As the umask has it: others of a group may have to sweep it.
            self.folder.mkdir(exist_ok=True)
            return
        self.folder.mkdir(mode=0o700, exist_ok=True)

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
    root: Place,
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


def publish_part(root: Place, part: Path, record: PartRecord) -> None:
    """Make a staged part that is complete, its record included, visible and safe.

    On a disk by one rename, which is made durable; in object storage by uploading its record last.
    """
    if isinstance(root, ObjectPath):
        upload_part(root / PARTS / part.name, part, record, RECORD)
        shutil.rmtree(part)
        return
    sync_all([part / path for path in record.files])
    folders = {part}
    for path in record.files:
        folders.update(parent for parent in (part / path).parents if parent.is_relative_to(part))
    sync_all(sorted(folders))
    parts = own_folder(root, PARTS, create=True)
    try:
        part.rename(parts / part.name)
    except FileNotFoundError:
        # NFS may run a rename, lose the answer, and report that the source is gone.
        if not (parts / part.name / RECORD).exists():
            raise
    except OSError as error:
        # Another merge of the same source was faster: what lies there is the same part.
        there = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
        if not there or not (parts / part.name / RECORD).exists():
            raise
        shutil.rmtree(part, ignore_errors=True)
    fsync_folder(parts)


def remove_part(root: Place, name: str, staging: Staging) -> None:
    """Take a part away whole, by one rename, then free its space. No part is ever half there.

    In object storage its record goes first: what is left is no part any more.
    """
    if isinstance(root, ObjectPath):
        folder = root / PARTS / name
        delete_file(folder / RECORD)
        for path in folder.names():
            delete_file(folder / path)
        return
    staging.make_folder()
    trash = staging.folder / f"removed-{name}"
    try:
        (root / PARTS / name).rename(trash)
    except FileNotFoundError:  # another process took it away first
        return
    fsync_folder(root / PARTS)
    shutil.rmtree(trash)


def sweep_staging(root: Place) -> list[str]:
    """Remove the staging folders of dead owners; returns their names.

    For a store in object storage: those on this machine's disk, and what is left in the storage of
    uploads that never ended; returns the parts' names too.
    """
    if not isinstance(root, ObjectPath):
        return _sweep(staging_owners(root))
    found = Path(tempfile.gettempdir()).glob(f"{ELSEWHERE}*")
    owners = ((parse_owner(folder.name.removeprefix(ELSEWHERE)), folder) for folder in found)
    here = [(owner, folder) for owner, folder in owners if owner and not folder.is_symlink()]
    return _sweep(here) + sweep_uploads(root / PARTS, RECORD, is_part_name)


def _sweep(owners: Iterable[tuple[Owner, Path]]) -> list[str]:
    swept = []
    for owner, folder in owners:
        try:
            last_sign = folder.stat().st_mtime
        except FileNotFoundError:  # its owner has just finished
            continue
        if is_dead(owner, last_sign):
            shutil.rmtree(folder, ignore_errors=True)  # another sweeper may be at it too
            if not folder.exists():  # else another user's
                swept.append(folder.name)
    return swept


def staging_owners(root: Place) -> Iterator[tuple[Owner, Path]]:
    """Every staging folder whose name tells an owner."""
    try:
        if isinstance(root, ObjectPath):
            return  # its writers stage on their own disks
        entries = sorted(own_folder(root, STAGING).iterdir())
    except FileNotFoundError:
        return
    for folder in entries:
        owner = parse_owner(folder.name)
        if owner is not None and folder.is_dir() and not folder.is_symlink():
            yield owner, folder
