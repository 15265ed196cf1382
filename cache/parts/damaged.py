"""`.damaged/`: what repair took out of use. Nothing reads it; `repair --delete` frees its space."""

import os
import shutil
import uuid
from pathlib import Path

from stepcli.cache.parts.commit import PARTS, RECORD
from stepcli.cache.parts.files import file_size, part_file_names
from stepcli.cache.storage.files import Place, create_synced, delete_file
from stepcli.cache.storage.objects import ObjectPath
from stepcli.runtime.errors import StorageError
from stepcli.runtime.files import fsync_folder, own_folder, reading

DAMAGED = ".damaged"


def set_aside_part(root: Place, name: str) -> None:
    """Move a part out of `parts/`: on a disk by one rename, in object storage by copies first."""
    if isinstance(root, ObjectPath):
        _move_objects(root / PARTS / name, root / DAMAGED / name)
        return
    target = own_folder(root, DAMAGED, create=True) / name
    if os.path.lexists(target):  # it came back from a backup and was damaged again
        target = target.with_name(f"{name}-{uuid.uuid4().hex}")
    try:
        (root / PARTS / name).rename(target)
    except FileNotFoundError:  # another process took it away first
        return
    fsync_folder(root / DAMAGED)
    fsync_folder(root / PARTS)


def move_aside(root: Place, path: str) -> Place:
    """Move a file or folder of the store, or a link in it, to a name of its own here; its place.

    Args:
        root: the store.
        path: of what is moved, below the store.
    """
    name = f"{path.replace('/', '-')}-{uuid.uuid4().hex}"
    if isinstance(root, ObjectPath):
        if (root / path).names():
            _move_objects(root / path, root / DAMAGED / name)
        else:
            _move_object(root / path, root / DAMAGED / name)
        return root / DAMAGED / name
    folder = own_folder(root, DAMAGED, create=True)
    (root / path).rename(folder / name)
    fsync_folder(folder)
    fsync_folder((root / path).parent)
    return folder / name


def keep_aside(root: Place, name: str, content: bytes) -> None:
    """Keep the content of a file that is about to be replaced."""
    if isinstance(root, Path):
        own_folder(root, DAMAGED, create=True)
    create_synced(root / DAMAGED / f"{name}-{uuid.uuid4().hex}", content)


def damaged_bytes(root: Place) -> int:
    """Bytes in `.damaged/`."""
    folder = root / DAMAGED
    if isinstance(folder, ObjectPath):
        return sum(entry.size for entry in folder.entries().values())
    if not os.path.lexists(own_folder(folder.parent, DAMAGED)):
        return 0
    with reading(folder):
        files = (folder / name for name in part_file_names(folder))
        return sum(os.lstat(path).st_size for path in files)


def delete_damaged(root: Place) -> None:
    """Free the space of what was taken out of use."""
    folder = root / DAMAGED
    if isinstance(folder, ObjectPath):
        for name in folder.names():
            delete_file(folder / name)
    elif os.path.lexists(own_folder(folder.parent, DAMAGED)):
        shutil.rmtree(folder)
        fsync_folder(folder.parent)


def _move_objects(source: ObjectPath, target: ObjectPath) -> None:
    names = source.names()
    for name in names:
        source.client.copy(f"{source.key}/{name}", f"{target.key}/{name}")
        size = file_size(source / name)
        if file_size(target / name) != size:
            raise StorageError(f"{target / name}: expected {size} bytes after copying")
    # Its record first: what is left of a part without one is no part.
    for name in sorted(names, key=lambda name: name != RECORD):
        delete_file(source / name)


def _move_object(source: ObjectPath, target: ObjectPath) -> None:
    source.client.copy(source.key, target.key)
    if (size := file_size(source)) != file_size(target):
        raise StorageError(f"{target}: expected {size} bytes after copying")
    delete_file(source)
