"""Every error that a user can cause or fix.

A message is one line: what was expected, what came, what to do.

    StepcliError
    ├── UsageError             an option, path or file that the user gave
    │   └── UnknownName        a name that no registry knows (lists the close ones)
    ├── StoreError
    │   ├── StoreNotFound
    │   ├── SpecMismatch       the store was written with other settings
    │   ├── ClipNotFound
    │   ├── StorageError       a disk, network or permission refused: nothing is known of the bytes
    │   └── DamagedStore       bytes on disk are not the bytes that were written
    └── ClipError              one clip cannot be stored: quarantine it, go on
        ├── VideoError         its video cannot be read as asked
        └── TokensError        its tokens do not fit the store (overflow, not finite, wrong shape)

Rooms raise these; the door (`cli.py`) prints them and turns `exit_code` into the process's.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class StepcliError(Exception):
    """Base of the tree; `exit_code` is what the process ends with."""

    exit_code: ClassVar[int] = 1
    has_lines: ClassVar[bool] = False
    """Whether line breaks in the message are its own; others are shown as \\n."""


class UsageError(StepcliError):
    """An option, path or input file is not what it should be."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that a registry does not know."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = get_close_matches(name, names, n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(close)}?"
            if close
            else f"known: {', '.join(names) or 'none'}"
        )
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class StoreError(StepcliError):
    """A feature store cannot be used as asked."""


class StoreNotFound(StoreError):
    """There is no store at that place."""

    exit_code = 2


class SpecMismatch(StoreError):
    """The store's spec differs from the one asked for; the message names each field."""

    exit_code = 2


class ClipNotFound(StoreError):
    """The store holds no committed tokens for that clip."""


class StorageError(StoreError):
    """A disk, a network or a permission refused: it says nothing about the bytes there."""


class DamagedStore(StoreError):
    """Bytes on disk are not the bytes that were written."""

    exit_code = 4


class ClipError(StepcliError):
    """One clip cannot be stored; a run quarantines it with this reason and continues."""


class VideoError(ClipError):
    """A video cannot be read as asked."""


class TokensError(ClipError):
    """A clip's tokens do not fit the store: overflow, not finite, or of another shape."""
