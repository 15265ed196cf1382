"""The files of one part, on a disk or in object storage: listed, sized, hashed, copied."""

import hashlib
import os
import shutil
import stat
from pathlib import Path

from stepcli.cache.parts.file_record import FileRecord, hash_file
from stepcli.cache.storage.files import Place
from stepcli.cache.storage.objects import ObjectPath
from stepcli.runtime.errors import DamagedStore, StorageError
from stepcli.runtime.files import reading

BLOCK_BYTES = 16 << 20
"""Asked of object storage at a time."""


def part_file_names(folder: Place) -> set[str]:
    """Paths of all files of a part, below its folder; links count as files. Empty without one."""
    if isinstance(folder, ObjectPath):
        return set(folder.names())
    names: set[str] = set()
    left = [""]
    while left:
        below = left.pop()
        try:
            # Not rglob, which passes over a folder that it may not read.
            with reading(folder / below), os.scandir(folder / below) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(f"{below}{entry.name}/")
                    else:
                        names.add(f"{below}{entry.name}")
        except FileNotFoundError:
            continue
    return names


def is_there(folder: Place) -> bool:
    """Whether a part's folder exists, be it empty; in object storage: whether anything is in it."""
    if isinstance(folder, ObjectPath):
        return bool(folder.names())
    with reading(folder):
        return os.path.lexists(folder)


def file_size(path: Place) -> int:
    """Bytes of a plain file or an object.

    Raises:
        FileNotFoundError: there is none.
        DamagedStore: it is a link, a folder or a device.
    """
    if isinstance(path, ObjectPath):
        return path.client.size(path.key)
    with reading(path):
        status = os.stat(path, follow_symlinks=False)  # noqa: PTH116 (Path.stat takes no such link)
    if not stat.S_ISREG(status.st_mode):
        raise DamagedStore(f"{path}: not a plain file")
    return status.st_size


def file_record(path: Place) -> FileRecord:
    """Size and sha256 of a file or an object, read in blocks."""
    if not isinstance(path, ObjectPath):
        with reading(path):
            return hash_file(path)
    digest, size = hashlib.sha256(), path.client.size(path.key)
    for start in range(0, size, BLOCK_BYTES):
        length = min(BLOCK_BYTES, size - start)
        (block,) = path.client.get_ranges(path.key, [start], length)
        if len(block) != length:
            raise StorageError(
                f"cannot read {path}: the storage gave {len(block)} of {length} bytes"
            )
        digest.update(block)
    return FileRecord(size=size, sha256=digest.hexdigest())


def wrong_file(path: Place, expected: FileRecord) -> str:
    """What is wrong with one file of a part, "" when nothing is.

    Raises:
        StorageError: it could not be read.
    """
    try:
        size = file_size(path)
    except FileNotFoundError:
        return "missing"
    except DamagedStore:
        return "not a plain file"
    if size != expected.size:
        return f"expected {expected.size} bytes, found {size}"
    if file_record(path).sha256 != expected.sha256:
        return "its bytes do not match their digest"
    return ""


def copy_file(source: Place, target: Path) -> int:
    """Give a file a second name on this disk, or copy it there, durably; bytes copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, ObjectPath):
        size = source.client.size(source.key)
        with target.open("xb") as file:
            for start in range(0, size, BLOCK_BYTES):
                length = min(BLOCK_BYTES, size - start)
                (block,) = source.client.get_ranges(source.key, [start], length)
                file.write(block)
    else:
        try:
            if not _fits(source, target.parent):
                raise PermissionError  # a link would keep its group and mode
            os.link(source, target, follow_symlinks=False)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(source, target, follow_symlinks=False)
        else:
            return 0
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return target.stat().st_size


def _fits(source: Path, folder: Path) -> bool:
    """Whether a file has the group of a folder that hands its own on (setgid), and may be read by
    those who may read the folder."""
    file, place = source.stat(follow_symlinks=False), folder.stat()
    if place.st_mode & stat.S_ISGID and file.st_gid != place.st_gid:
        return False
    return not place.st_mode & 0o044 & ~file.st_mode
