"""Stores on a disk: durable by fsync, whole by rename, and never through a link."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path, PosixPath
from typing import Self

from stepcli.cache.storage.file_reader import FileClips, OpenFile
from stepcli.cache.storage.handles import Entry, Seen
from stepcli.cache.storage.local_log import LocalLog
from stepcli.cache.storage.lock import exclusive
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.storage.writer_identity import STAGING, sweep_folders
from stepcli.runtime import files
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.files import fsync_folder, own_folder, reading

BLOCK_BYTES = 1 << 20
"""Read at a time when a file is hashed."""


class LocalPath(PosixPath, StoragePath):
    """A file or folder on a disk. It is a `Path` too."""

    __slots__ = ()

    @property
    def local(self) -> Path:
        """This path."""
        return self

    @property
    def location(self) -> str:
        """The absolute path, links resolved."""
        return str(self.resolve())

    @property
    def address(self) -> str:
        """The path as given."""
        return str(self)

    # --- small files

    def read(self, limit: int) -> bytes:
        """See `StoragePath`."""
        return files.read_regular(self, limit)

    def read_beneath(self, name: str, limit: int) -> bytes:
        """See `StoragePath`."""
        return files.read_beneath(self.parent, f"{self.name}/{name}", limit)

    def write(self, content: bytes) -> None:
        """See `StoragePath`."""
        files.replace_synced(self, content)

    def create(self, content: bytes) -> bool:
        """See `StoragePath`."""
        return files.create_synced(self, content)

    def look(self, limit: int) -> Seen:
        """See `StoragePath`."""
        while True:
            before = self._identity()
            try:
                content = self.read(limit)
            except FileNotFoundError:
                return Seen(None, None)
            if before == self._identity():  # else replaced while it was read
                return Seen(content, before)

    def swap(self, content: bytes, seen: Seen) -> bool:
        """See `StoragePath`; beside the lock this notices a file edited with another program."""
        if self._identity() != seen.version:
            return False
        self.write(content)
        return True

    def _identity(self) -> tuple[int, ...] | None:
        try:
            status = self.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def remove(self) -> None:
        """See `StoragePath`."""
        self.unlink(missing_ok=True)

    # --- large files

    def size(self) -> int:
        """See `StoragePath`."""
        with reading(self):
            status = self.stat(follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            raise DamagedStore(f"{self}: a link; expected a plain file")
        if not stat.S_ISREG(status.st_mode):
            raise DamagedStore(f"{self}: not a plain file")
        return status.st_size

    def blocks(self) -> Generator[memoryview, None, None]:
        """See `StoragePath`."""
        buffer = memoryview(bytearray(BLOCK_BYTES))
        with reading(self), self.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                yield buffer[:count]

    def open_ranges(self, name: str) -> OpenFile:
        """See `StoragePath`."""
        return OpenFile(self, name)

    def clip_source(self) -> FileClips:
        """See `StoragePath`."""
        return FileClips(self)

    def download(self, target: Path) -> int:
        """See `StoragePath`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not _fits(self, target.parent):
                raise PermissionError  # a link would keep its group and mode
            os.link(self, target, follow_symlinks=False)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(self, target, follow_symlinks=False)
        else:
            return 0
        with target.open("rb") as file:
            os.fsync(file.fileno())
        return target.stat().st_size

    # --- listing

    def names(self) -> list[str]:
        """See `StoragePath`."""
        return sorted(name for name, _ in self._walk())

    def _walk(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        own_folder(self.parent, self.name)
        left = [""]
        while left:
            below = left.pop()
            try:
                # Not rglob, which passes over a folder that it may not read.
                with reading(self / below), os.scandir(self / below) as entries:
                    # All of them, so that no folder is open while the caller works on one.
                    found = [(entry, entry.is_dir(follow_symlinks=False)) for entry in entries]
            except FileNotFoundError:
                continue
            for entry, is_folder in found:
                if is_folder:
                    left.append(f"{below}{entry.name}/")
                else:
                    yield f"{below}{entry.name}", entry

    def child_names(self) -> list[str]:
        """See `StoragePath`."""
        return files.list_names(self.parent, self.name)

    def entries(self) -> Mapping[str, Entry]:
        """See `StoragePath`."""
        found = {}
        for name, entry in self._walk():
            with suppress(FileNotFoundError):  # deleted meanwhile
                status = entry.stat(follow_symlinks=False)
                found[name] = Entry(status.st_size, status.st_mtime)
        return found

    def is_there(self) -> bool:
        """See `StoragePath`."""
        return files.is_present(self)

    # --- folders

    def prepare(self) -> None:
        """See `StoragePath`."""
        files.make_folder_synced(self)

    def make_folder(self) -> Self:
        """See `StoragePath`."""
        own_folder(self.parent, self.name, create=True)
        return self

    def move(self, target: Self, first: str) -> None:
        """See `StoragePath`: one rename."""
        self.rename(target)
        fsync_folder(target.parent)
        fsync_folder(self.parent)

    def remove_all(self) -> None:
        """See `StoragePath`."""
        if files.is_present(own_folder(self.parent, self.name)):
            shutil.rmtree(self)
            fsync_folder(self.parent)

    def sweep_drafts(self, is_draft: Callable[[str], bool]) -> None:
        """See `StoragePath`; the caller holds the lock that the writers of drafts hold."""
        with suppress(OSError):  # the change is made, whether or not this succeeds
            for path in list(self.iterdir()):
                if is_draft(path.name):
                    path.unlink(missing_ok=True)

    # --- parts

    def published(self, record: str) -> tuple[set[str], bool]:
        """See `StoragePath`: folders, which appear by a rename. A link is none."""
        try:
            folder = own_folder(self.parent, self.name)
            with reading(self), os.scandir(folder) as entries:
                names = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
        except FileNotFoundError:
            return set(), False
        return names, True  # how many names are read at once depends on the file system

    def publish(self, staged: Path, sizes: Mapping[str, int], record: str) -> int:
        """See `StoragePath`: fsync of files and folders, one rename, fsync of the parent."""
        files.sync_all([staged / path for path in sizes])
        folders = {staged}
        for path in sizes:
            above = (staged / path).parents
            folders.update(parent for parent in above if parent.is_relative_to(staged))
        files.sync_all(sorted(folders))
        parts = own_folder(self.parent.parent, self.parent.name, create=True)
        try:
            staged.rename(self)
        except FileNotFoundError:
            # NFS may run a rename, lose the answer, and report that the source is gone.
            if not (self / record).exists():
                raise
        except OSError as error:
            # Another merge of the same source was faster: the part there is the same.
            there = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
            if not there or not (self / record).exists():
                raise
            shutil.rmtree(staged, ignore_errors=True)
        fsync_folder(parts)
        return 0

    def withdraw(self, trash: Callable[[], Path], record: str) -> None:
        """See `StoragePath`: one rename into staging, then its space is freed."""
        removed = trash() / f"removed-{self.name}"
        try:
            self.rename(removed)
        except FileNotFoundError:  # another process took it away first
            return
        fsync_folder(self.parent)
        shutil.rmtree(removed)

    def staging(self, name: str, *, make: bool = False) -> Path:
        """See `StoragePath`: in the store itself, so that publishing is a rename."""
        folder = self / STAGING / name
        if make:
            own_folder(self, STAGING, create=True)
            # As the umask has it: others of a group may have to sweep it.
            folder.mkdir(exist_ok=True)
        return folder

    def staging_folders(self) -> list[Path]:
        """See `StoragePath`."""
        try:
            return sorted(own_folder(self, STAGING).iterdir())
        except FileNotFoundError:
            return []

    def sweep_staging(self, parts: str, record: str, is_part: Callable[[str], bool]) -> list[str]:
        """See `StoragePath`."""
        return sweep_folders(self.staging_folders())

    # --- the store as a whole

    def exclusive(self) -> AbstractContextManager[None]:
        """See `StoragePath`."""
        return exclusive(self)

    def open_log(self, writer: str) -> LocalLog:
        """See `StoragePath`."""
        return LocalLog(self, f"{writer}.jsonl")

    @property
    def index_on_open(self) -> bool:
        """See `StoragePath`."""
        return True

    def free_bytes(self) -> int:
        """See `StoragePath`."""
        return shutil.disk_usage(files.nearest_existing(self)).free


def _fits(source: Path, folder: Path) -> bool:
    """Whether a file has the group of a folder that hands its own on (setgid), and may be read by
    those who may read the folder."""
    file, place = source.stat(follow_symlinks=False), folder.stat()
    if place.st_mode & stat.S_ISGID and file.st_gid != place.st_gid:
        return False
    return not place.st_mode & 0o044 & ~file.st_mode
