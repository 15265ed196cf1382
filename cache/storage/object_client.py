"""The requests to object storage that a store makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """What a listing says of an object."""

    size: int
    """Bytes."""
    written: float | None
    """When, by the server's clock, in seconds since the epoch; None: it does not say."""


class ObjectClient(Protocol):
    """The few requests that a store makes. Keys are relative to the store's URL."""

    conditional: bool
    """Whether `swap` is atomic; where it is not, the caller holds a claim."""

    def get(self, key: str, limit: int | None = None) -> bytes:
        """A whole object of at most `limit` bytes.

        Raises:
            FileNotFoundError: there is none.
            DamagedStore: it is larger.
        """

    def get_versioned(self, key: str, limit: int) -> tuple[bytes, Any]:
        """A whole object, and its version for `swap`; errors as of `get`."""

    def swap(self, key: str, content: bytes, version: Any) -> bool:
        """Write an object if it is still of this version; False when it is not.

        Args:
            key: of the object.
            content: the new content.
            version: from `get_versioned`; None: only if there is no such object.
        """

    def get_ranges(self, key: str, starts: Sequence[int], length: int) -> Sequence[Any]:
        """Ranges of one length, as bytes-like objects; shorter where the object ends."""

    def get_range(self, key: str, start: int, length: int) -> tuple[Any, int]:
        """One range, shorter where the object ends, and how many bytes the whole object has.

        The length of an object that ends before `start` may be given as `start`.
        """

    def size(self, key: str) -> int:
        """Bytes of an object; FileNotFoundError when there is none."""

    def put(self, key: str, source: bytes | Path, *, create: bool = False) -> bool:
        """Write an object; with `create` only if there is none: False when there is."""

    def replace(self, key: str, content: bytes) -> None:
        """Write an object, whatever is there; a request that comes late undoes nothing newer."""

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the storage, over what is there."""

    def entries(self, prefix: str) -> "dict[str, Entry]":
        """All objects below a prefix ("folder/"), by key."""

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
