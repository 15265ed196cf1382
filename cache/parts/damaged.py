"""`.damaged/`: what repair took out of use. Nothing reads it; `repair --delete` frees its space."""

import uuid
from contextlib import suppress

from stepcli.cache.parts.commit import PARTS, RECORD
from stepcli.cache.storage.path import StoragePath

DAMAGED = ".damaged"


def set_aside_part(root: StoragePath, name: str) -> None:
    """Move a part out of `parts/`."""
    target = (root / DAMAGED).make_folder() / name
    if target.is_there():  # it came back from a backup and was damaged again
        target = root / DAMAGED / f"{name}-{uuid.uuid4().hex}"
    with suppress(FileNotFoundError):  # another process took it away first
        (root / PARTS / name).move(target, first=RECORD)


def move_aside(root: StoragePath, path: str) -> StoragePath:
    """Move a file or folder of the store, or a link in it, to a name of its own here; its place.

    Args:
        root: the store.
        path: of what is moved, below the store.
    """
    target = (root / DAMAGED).make_folder() / f"{path.replace('/', '-')}-{uuid.uuid4().hex}"
    (root / path).move(target, first=RECORD)
    return target


def keep_aside(root: StoragePath, name: str, content: bytes) -> None:
    """Keep the content of a file that is about to be replaced."""
    ((root / DAMAGED).make_folder() / f"{name}-{uuid.uuid4().hex}").create(content)


def damaged_bytes(root: StoragePath) -> int:
    """Bytes in `.damaged/`."""
    return sum(entry.size for entry in (root / DAMAGED).entries().values())


def delete_damaged(root: StoragePath) -> None:
    """Free the space of what was taken out of use."""
    (root / DAMAGED).remove_all()
