"""Small files of a store, on a disk or in object storage: whole or not there."""

from pathlib import Path

from stepcli.cache.storage.objects import ObjectPath
from stepcli.runtime import files

Place = Path | ObjectPath
"""A file or folder on a disk, or an object or prefix in object storage."""


def replace_synced(path: Place, content: bytes) -> None:
    """Put a file in place of an older one: a reader sees all of the old or all of the new."""
    if isinstance(path, ObjectPath):
        path.client.replace(path.key, content)
    else:
        files.replace_synced(path, content)


def create_synced(path: Place, content: bytes) -> bool:
    """Create a file whole, unless it is there already: of two racing callers one gets True."""
    if isinstance(path, ObjectPath):
        return path.client.put(path.key, content, create=True)
    return files.create_synced(path, content)


def delete_file(path: Place) -> None:
    """Remove a file, if it is there."""
    if isinstance(path, ObjectPath):
        path.client.delete(path.key)
    else:
        path.unlink(missing_ok=True)


def list_names(root: Place, folder: str) -> list[str]:
    """Sorted names in a folder of a store; [] without one."""
    if isinstance(root, ObjectPath):
        return [name for name in (root / folder).names() if "/" not in name]
    return files.list_names(root, folder)


def read_regular(path: Place, limit: int) -> bytes:
    """Read a small file that is no link and no larger than `limit` bytes.

    Raises:
        FileNotFoundError: there is none.
        DamagedStore: it is a link, a device, or larger than any such file can be.
        StorageError: it could not be read.
    """
    if isinstance(path, ObjectPath):
        return path.read(limit)
    return files.read_regular(path, limit)
