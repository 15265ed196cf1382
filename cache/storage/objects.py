"""Stores in object storage: an object appears whole or not at all, and there is no rename.

Creation and replacement are conditional requests, so nothing needs a lock. A part is uploaded file
by file, its record last: a prefix without a record is no part.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcli.cache.storage.clients import connect
from stepcli.cache.storage.handles import Entry, Seen
from stepcli.cache.storage.object_client import ObjectClient
from stepcli.cache.storage.object_reader import ObjectClips, OpenObject
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.storage.uploads import sweep_uploads, upload
from stepcli.cache.storage.writer_identity import sweep_folders
from stepcli.runtime.credentials import without_credentials
from stepcli.runtime.errors import StorageError

URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,3}(.+)")
"""One slash will do: a URL that went through `Path` has lost the other."""
BLOCK_BYTES = 16 << 20
"""Requested at a time."""
PAGE = 1000
"""Objects that a server lists at once."""
ELSEWHERE = "stepcli-"
"""How staging folders begin in the system's temporary folder."""


@dataclass(frozen=True)
class ObjectPath(StoragePath):
    """An object, or a prefix, below the URL of a store."""

    url: str
    """Of the store, without a slash at its end and without credentials: it may be recorded."""
    key: str = ""

    @staticmethod
    def of(url: str) -> "ObjectPath":
        """The path at a URL, whose credentials are kept in memory alone."""
        match = URL.fullmatch(url)
        assert match is not None
        # Schemes without a host: what follows is a path from the root, and a Path merges slashes.
        address = f"{match[1]}://{match[2].rstrip('/')}"
        shown = without_credentials(address).rstrip("/")
        if shown != address:
            _ADDRESSES[shown] = address
        return ObjectPath(shown)

    def __reduce__(self) -> tuple[object, ...]:
        # Other processes of ours need what the URL was given with.
        return _at, (self.address, self.key)

    # --- names

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.url, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"{self.url}/{self.key}" if self.key else self.url

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def local(self) -> None:
        """None: an object has no path on this machine."""
        return None

    @property
    def location(self) -> str:
        """The URL without credentials."""
        return str(self)

    @property
    def address(self) -> str:
        """The store's URL as it was given, perhaps with credentials."""
        return _ADDRESSES.get(self.url, self.url)

    @property
    def client(self) -> ObjectClient:
        """The connection of this process; a forked child gets its own."""
        client = _CLIENTS.get((os.getpid(), self.url))
        if client is None:
            client = _CLIENTS[os.getpid(), self.url] = connect(self.url, self.address)
        return client

    # --- small files

    def read(self, limit: int) -> bytes:
        """See `StoragePath`."""
        return self.client.get(self.key, limit)

    def read_beneath(self, name: str, limit: int) -> bytes:
        """See `StoragePath`."""
        return (self / name).read(limit)

    def write(self, content: bytes) -> None:
        """See `StoragePath`."""
        self.client.replace(self.key, content)

    def create(self, content: bytes) -> bool:
        """See `StoragePath`."""
        return self.client.swap(self.key, content, None)

    def look(self, limit: int) -> Seen:
        """See `StoragePath`."""
        try:
            return Seen(*self.client.get_versioned(self.key, limit))
        except FileNotFoundError:
            return Seen(None, None)

    def swap(self, content: bytes, seen: Seen) -> bool:
        """See `StoragePath`."""
        return self.client.swap(self.key, content, seen.version)

    def remove(self) -> None:
        """See `StoragePath`."""
        self.client.delete(self.key)

    # --- large files

    def size(self) -> int:
        """See `StoragePath`."""
        return self.client.size(self.key)

    def blocks(self) -> Generator[memoryview, None, None]:
        """See `StoragePath`."""
        # Now, since a missing object is an error of the call; its answer tells the size too.
        return self._blocks(*self.client.get_range(self.key, 0, BLOCK_BYTES))

    def _blocks(self, block: Any, size: int) -> Generator[memoryview, None, None]:
        for start in range(0, size, BLOCK_BYTES):
            length = min(BLOCK_BYTES, size - start)
            if start:
                (block,) = self.client.get_ranges(self.key, [start], length)
            if len(block) != length:
                raise StorageError(
                    f"cannot read {self}: the storage gave {len(block)} of {length} bytes"
                )
            yield memoryview(block)

    def open_ranges(self, name: str) -> OpenObject:
        """See `StoragePath`."""
        path = self / name
        return OpenObject(path.client, path.key, str(path))

    def clip_source(self) -> ObjectClips:
        """See `StoragePath`."""
        return ObjectClips(lambda: self.client, self.key, str(self))

    def download(self, target: Path) -> int:
        """See `StoragePath`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        blocks = self.blocks()  # before anything is created
        with target.open("xb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        return target.stat().st_size

    # --- listing

    def names(self) -> list[str]:
        """See `StoragePath`."""
        return sorted(self.entries())

    def child_names(self) -> list[str]:
        """See `StoragePath`."""
        return sorted({name.partition("/")[0] for name in self.names()})

    def entries(self) -> Mapping[str, Entry]:
        """See `StoragePath`."""
        prefix = f"{self.key}/" if self.key else ""
        found = self.client.entries(prefix)
        return {key.removeprefix(prefix): entry for key, entry in found.items()}

    def is_there(self) -> bool:
        """See `StoragePath`: whether anything is below it."""
        return bool(self.names())

    # --- folders, which objects have not

    def prepare(self) -> None:
        """See `StoragePath`."""

    def make_folder(self) -> "ObjectPath":
        """See `StoragePath`."""
        return self

    def move(self, target: "ObjectPath", first: str) -> None:
        """See `StoragePath`: copies, whose sizes are checked, then deletes."""
        names = self.names()
        moved = [(self / name, target / name) for name in names] or [(self, target)]
        for source, copy in moved:
            self.client.copy(source.key, copy.key)
            size = source.size()
            if copy.size() != size:
                raise StorageError(f"{copy}: expected {size} bytes after copying")
        # Its record first: what is left of a part without one is no part.
        for source, _ in sorted(moved, key=lambda pair: pair[0] != self / first):
            source.remove()

    def remove_all(self) -> None:
        """See `StoragePath`."""
        for name in self.names():
            (self / name).remove()

    def sweep_drafts(self, is_draft: Callable[[str], bool]) -> None:
        """See `StoragePath`: an object has no draft."""

    # --- parts

    def published(self, record: str) -> tuple[set[str], bool]:
        """See `StoragePath`: prefixes that hold a record."""
        names = self.names()
        whole = {name.removesuffix(f"/{record}") for name in names if name.endswith(f"/{record}")}
        return whole, len(names) >= PAGE

    def publish(self, staged: Path, sizes: Mapping[str, int], record: str) -> int:
        """See `StoragePath`: uploads, the record last."""
        client = self.client
        upload(
            self, lambda name, file: client.put(f"{self.key}/{name}", file), staged, sizes, record
        )
        shutil.rmtree(staged)
        return sum(sizes.values())

    def withdraw(self, trash: Callable[[], Path], record: str) -> None:
        """See `StoragePath`: its record first, so what is left is no part any more."""
        (self / record).remove()
        self.remove_all()

    def staging(self, name: str, *, make: bool = False) -> Path:
        """See `StoragePath`: in the system's temporary folder."""
        folder = Path(tempfile.gettempdir()) / (ELSEWHERE + name)
        if make:
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def staging_folders(self) -> list[Path]:
        """See `StoragePath`: none, since folders on this machine do not tell their store."""
        return []

    def sweep_staging(self, parts: str, record: str, is_part: Callable[[str], bool]) -> list[str]:
        """See `StoragePath`: on this machine's disk, and uploads that were never completed."""
        here = Path(tempfile.gettempdir()).glob(f"{ELSEWHERE}*")
        return sweep_folders(here, ELSEWHERE) + sweep_uploads(self / parts, record, is_part)

    # --- the store as a whole

    def exclusive(self) -> AbstractContextManager[None]:
        """See `StoragePath`: nothing, since `swap` is atomic."""
        return nullcontext()

    def open_log(self, writer: str) -> "ObjectLog":
        """See `StoragePath`."""
        return ObjectLog(self, writer)

    @property
    def index_on_open(self) -> bool:
        """See `StoragePath`: most who read a bucket may not write to it."""
        return False

    def free_bytes(self) -> None:
        """See `StoragePath`: no limit to ask for."""
        return


class ObjectLog:
    """See `Log`: nothing can be appended to an object, so every line is one."""

    def __init__(self, folder: ObjectPath, writer: str) -> None:
        self._folder, self._writer = folder, writer
        self._written = 0

    def append(self, line: bytes) -> None:
        """See `Log`."""
        (self._folder / f"{self._writer}-{self._written:06d}.jsonl").write(line)
        self._written += 1

    def close(self) -> None:
        """Nothing is open."""


_CLIENTS: dict[tuple[int, str], ObjectClient] = {}
_ADDRESSES: dict[str, str] = {}
"""URLs that were given with credentials, by the same without; in memory alone."""


def _at(address: str, key: str) -> ObjectPath:
    return ObjectPath(ObjectPath.of(address).url, key)
