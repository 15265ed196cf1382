"""The requests that a store makes to object storage; to add another kind of storage, subclass this.

See docs/storages.md for an example.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepcli.cache.storage.handles import Entry

__all__ = ["Entry", "ObjectClient"]


class ObjectClient(ABC):
    """A connection to one URL. Keys are relative to the URL, with "/" between their parts.

    Called from several threads. Every process makes its own; a failure of the network, the server
    or the credentials is raised as `stepcli.runtime.errors.StorageError`.
    """

    @abstractmethod
    def get_versioned(self, key: str, limit: int | None) -> tuple[bytes, Any]:
        """A whole object, and its version for `swap`.

        Args:
            key: of the object.
            limit: bytes; None: any number.

        Raises:
            FileNotFoundError: there is none.
            DamagedStore: it is larger than `limit`.
        """

    @abstractmethod
    def get_range(self, key: str, start: int, length: int) -> tuple[Any, int]:
        """One range as a bytes-like object, shorter if the object ends, and the object's size.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def put(self, key: str, source: bytes | Path) -> None:
        """Write an object from bytes or from a file; readers see all of it or none."""

    @abstractmethod
    def swap(self, key: str, content: bytes, version: Any) -> bool:
        """Write an object if it still has this version; else return False. Atomic.

        Args:
            key: of the object.
            content: the new content.
            version: from `get_versioned`; None: only if there is no such object.
        """

    @abstractmethod
    def entries(self, prefix: str) -> dict[str, Entry]:
        """All objects whose key begins with `prefix`, which is "" or ends with "/"."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""

    def get(self, key: str, limit: int | None = None) -> bytes:
        """A whole object; errors as of `get_versioned`."""
        return self.get_versioned(key, limit)[0]

    def get_ranges(self, key: str, starts: Sequence[int], length: int) -> Sequence[Any]:
        """Ranges of one length, as bytes-like objects; none begins where the object has ended."""
        return [self.get_range(key, start, length)[0] for start in starts]

    def size(self, key: str) -> int:
        """Bytes of an object; FileNotFoundError if there is none."""
        return self.get_range(key, 0, 1)[1]

    def replace(self, key: str, content: bytes) -> None:
        """Write an object, whatever is there; a request that arrives late must undo nothing newer.

        The default suits storages whose requests cannot outlive the call.
        """
        self.put(key, content)

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the storage, over what is there."""
        self.put(target, self.get(key))
