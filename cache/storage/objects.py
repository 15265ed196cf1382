"""Stores in object storage: s3://, gs://, az:// through obstore, any other URL through fsspec.

An `ObjectPath` names an object as a `Path` names a file. What differs from a disk: an object
appears whole or not at all, there is no rename, and creation can be exclusive (a conditional PUT).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from stepcli.cache.storage.object_client import Entry, ObjectClient
from stepcli.runtime.credentials import without_credentials
from stepcli.runtime.errors import UsageError

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,3}(.+)")
"""One slash will do: a URL that went through `Path` has lost the other."""
_OBSTORE_SCHEMES = {"s3", "s3a", "gs", "az", "abfs", "abfss", "azure", "http", "https"}


@dataclass(frozen=True)
class ObjectPath:
    """An object, or a prefix, below the URL of a store."""

    url: str
    """Of the store, without a slash at its end and without credentials: it is written down."""
    key: str = ""

    def __reduce__(self) -> tuple[object, ...]:
        # Other processes of ours need what the URL was given with.
        return _at, (self.address, self.key)

    @property
    def address(self) -> str:
        """The URL as it was given, perhaps with credentials: for connections, never for a file."""
        return _ADDRESSES.get(self.url, self.url)

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.url, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"{self.url}/{self.key}" if self.key else self.url

    @property
    def name(self) -> str:
        """Last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def client(self) -> ObjectClient:
        """The connection of this process; a forked child gets one of its own."""
        client = _CLIENTS.get((os.getpid(), self.url))
        if client is None:
            client = _CLIENTS[os.getpid(), self.url] = _connect(self.url, self.address)
        return client

    def read(self, limit: int) -> bytes:
        """A small object's content.

        Raises:
            FileNotFoundError: there is none.
            DamagedStore: it is larger than `limit` bytes.
        """
        return self.client.get(self.key, limit)

    def names(self) -> list[str]:
        """Keys below this prefix, relative to it, sorted."""
        return sorted(self.entries())

    def entries(self) -> dict[str, Entry]:
        """The objects below this prefix, by their keys relative to it."""
        prefix = f"{self.key}/" if self.key else ""
        found = self.client.entries(prefix)
        return {key.removeprefix(prefix): entry for key, entry in found.items()}


_CLIENTS: dict[tuple[int, str], ObjectClient] = {}
_ADDRESSES: dict[str, str] = {}
"""URLs that were given with credentials, by the same without; in memory alone."""


def _at(address: str, key: str) -> ObjectPath:
    place = place_of(address)
    assert isinstance(place, ObjectPath)
    return ObjectPath(place.url, key)


def place_of(path: "str | Path | ObjectPath") -> Path | ObjectPath:
    """A folder, or for a URL a prefix of objects."""
    if isinstance(path, ObjectPath):
        return path
    match = _URL.fullmatch(str(path))
    if match is None:
        return Path(path)
    if match[1] == "file":
        return Path("/", match[2])
    # Schemes without a host: what follows is a path from the root, and a Path has merged slashes.
    root = "/" if match[1] == "local" else ""
    address = f"{match[1]}://{root}{match[2].rstrip('/')}"
    url = without_credentials(address).rstrip("/")
    if url != address:
        _ADDRESSES[url] = address
    return ObjectPath(url)


def address_of(place: str) -> str:
    """A place for a process of ours elsewhere: of a URL with the credentials it was given with."""
    found = place_of(place)
    return found.address if isinstance(found, ObjectPath) else place


def is_same_place(one: Path | ObjectPath, other: Path | ObjectPath) -> bool:
    """Whether two places are the same folder or URL."""
    if isinstance(one, Path) and isinstance(other, Path):
        return one.resolve() == other.resolve()
    return one == other


def _connect(url: str, address: str) -> ObjectClient:
    scheme = url.partition("://")[0]
    try:
        if scheme in _OBSTORE_SCHEMES:
            from stepcli.cache.storage.obstore_client import ObstoreClient

            return ObstoreClient(url, address)
        from stepcli.cache.storage.fsspec_client import FsspecClient

        return FsspecClient(url, address)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{url}: object storage needs the extra s3 ({error.name} is missing); "
            "pip install 'stepcli[s3]'"
        ) from error
