"""The interface between a store and what it is kept on: a disk, or object storage.

`StoragePath` names a file or folder of a store and carries every operation that a store needs.
`local.py` implements it for disks, `objects.py` for object storage; nothing outside this package
asks which of the two it has. Other object storages need only an `ObjectClient` (docs/storages.md).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from stepcli.cache.storage.handles import ClipSource, Entry, Log, RangeFile, Seen


class StoragePath(ABC):
    """A file or folder of a store."""

    __slots__ = ()

    # --- names

    @abstractmethod
    def __truediv__(self, name: str) -> Self:
        """The file or folder of that name below this one."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of the path."""

    @property
    @abstractmethod
    def local(self) -> Path | None:
        """The path on this machine's file system; None if it is elsewhere."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Absolute path, or URL without credentials: what records keep, equal for equal places."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Text from which a process on another machine opens the same path, credentials included.

        Never written to a file; `str(path)` is what may be shown and recorded.
        """

    # --- small files: whole or not there

    @abstractmethod
    def read(self, limit: int) -> bytes:
        """The content of a file of at most `limit` bytes.

        Raises:
            FileNotFoundError: there is none.
            DamagedStore: it is larger, or no plain file.
            StorageError: it could not be read.
        """

    @abstractmethod
    def read_beneath(self, name: str, limit: int) -> bytes:
        """The same of a file in this folder, which like the folder above it must not be a link."""

    @abstractmethod
    def write(self, content: bytes) -> None:
        """Create or replace a file: readers see the whole old content or the whole new one."""

    @abstractmethod
    def create(self, content: bytes) -> bool:
        """Create a file unless there is one: of several callers exactly one gets True."""

    @abstractmethod
    def look(self, limit: int) -> Seen:
        """Content and version of a file of at most `limit` bytes, for `swap`; errors as `read`."""

    @abstractmethod
    def swap(self, content: bytes, seen: Seen) -> bool:
        """Replace a file that is still what was seen; else False. The caller holds `exclusive`."""

    @abstractmethod
    def remove(self) -> None:
        """Delete a file, if there is one."""

    # --- large files

    @abstractmethod
    def size(self) -> int:
        """Bytes of a file.

        Raises:
            FileNotFoundError: there is none.
            DamagedStore: it is no plain file.
        """

    @abstractmethod
    def blocks(self) -> Generator[memoryview, None, None]:
        """The content of a file, piece by piece; a piece is valid until the next one is taken.

        Close it, which closes the file.
        """

    @abstractmethod
    def open_ranges(self, name: str) -> RangeFile:
        """Open a file below this folder; no link is followed on the way.

        Raises:
            FileNotFoundError: there is none; in object storage the first read raises it.
            DamagedStore: it is a link, or behind one.
        """

    @abstractmethod
    def clip_source(self) -> ClipSource:
        """A reader for many ranges of the files below this folder."""

    @abstractmethod
    def download(self, target: Path) -> int:
        """Link or copy a file to this disk, durably; return the bytes copied."""

    # --- listing

    @abstractmethod
    def names(self) -> list[str]:
        """Paths of all files below this folder, sorted; links count as files. [] if missing.

        Raises:
            DamagedStore: the folder is a link, or no folder.
        """

    @abstractmethod
    def child_names(self) -> list[str]:
        """Sorted names of files and folders directly in this one; as `names`."""

    @abstractmethod
    def entries(self) -> Mapping[str, Entry]:
        """Size and time of all files below this folder, by path; as `names`."""

    @abstractmethod
    def is_there(self) -> bool:
        """Whether a folder exists, even if empty where empty folders can exist."""

    # --- folders

    @abstractmethod
    def prepare(self) -> None:
        """Make the folder of a new store, durably."""

    @abstractmethod
    def make_folder(self) -> Self:
        """Make a folder of a store, where folders exist, before files are written to it.

        Raises:
            DamagedStore: it is a link: nothing outside of a store is written.
        """

    @abstractmethod
    def move(self, target: Self, first: str) -> None:
        """Move a file or folder within the store.

        Args:
            target: new place, which must not exist.
            first: file of a folder that is deleted first where moving is copying and deleting.

        Raises:
            FileNotFoundError: there is nothing to move.
        """

    @abstractmethod
    def remove_all(self) -> None:
        """Delete a folder of the store and everything in it, if it is there."""

    @abstractmethod
    def sweep_drafts(self, is_draft: Callable[[str], bool]) -> None:
        """Delete files that killed writers left in this folder while replacing others."""

    # --- parts: folders that appear whole

    @abstractmethod
    def published(self, record: str) -> tuple[set[str], bool]:
        """Names of the whole folders in this one.

        Args:
            record: name of the file that is written last.

        Returns:
            The names, and whether the listing may lack folders that were moved meanwhile.
        """

    @abstractmethod
    def publish(self, staged: Path, sizes: Mapping[str, int], record: str) -> int:
        """Make a staged folder visible at this path, whole and durable, and remove it there.

        Args:
            staged: a folder on this machine's disk.
            sizes: bytes of each of its files, without the record.
            record: name of the file that marks it as whole.

        Returns:
            Bytes sent over the network.
        """

    @abstractmethod
    def withdraw(self, trash: Callable[[], Path], record: str) -> None:
        """Delete a published folder; it is never seen in part.

        Args:
            trash: makes and returns a staging folder of the caller.
            record: name of the file that marks it as whole.
        """

    @abstractmethod
    def staging(self, name: str, *, make: bool = False) -> Path:
        """The folder on this machine's disk in which a writer of this store stages parts."""

    @abstractmethod
    def staging_folders(self) -> list[Path]:
        """The staging folders of this store's writers, as far as they are visible here."""

    @abstractmethod
    def sweep_staging(self, parts: str, record: str, is_part: Callable[[str], bool]) -> list[str]:
        """Delete what dead writers staged, and parts that they began to publish; their names."""

    # --- the store as a whole

    @abstractmethod
    def exclusive(self) -> AbstractContextManager[None]:
        """Hold off other changes of the store's tables, where `swap` alone is not atomic.

        Raises:
            StoreError: another process has held it for too long.
        """

    @abstractmethod
    def open_log(self, writer: str) -> Log:
        """A new log in this folder, named after its writer."""

    @property
    @abstractmethod
    def index_on_open(self) -> bool:
        """Whether opening a store may write an index to it. Readers of a bucket write nothing."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Free space, also for a place not made yet; None where there is no limit to ask for."""


Location = str | Path | StoragePath
"""What a store may be named by: a folder, a URL, or a path of the store itself."""
