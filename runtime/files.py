"""Files that are either whole on disk or not there: fsync, atomic replace."""

import errno
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from stepcli.runtime.errors import DamagedStore, StorageError, StoreError

_WRONG_KIND = {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}
"""What opening a link, a socket, or a file behind a file fails with."""
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What file systems without hard links answer: exFAT, some of NFS and of FUSE."""
_TRIED = 4096
"""Bytes that show whether a folder takes any: a block of most file systems."""


@contextmanager
def disk_errors(place: object) -> Iterator[None]:
    """Turn what the operating system says about a write into a one-line StoreError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        no_file = isinstance(place, Path) and (place.is_dir() or not place.parent.is_dir())
        if no_file and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            # Nothing was begun.
            raise StoreError(
                f"cannot write to {place}: {reason}; give another file, or make its folder"
            ) from error
        raise StoreError(
            f"cannot write to {place}: {reason}; what was committed before is safe, "
            "fix the cause and run the same command again to resume"
        ) from error


@contextmanager
def reading(place: object) -> Iterator[None]:
    """Tell what is wrong with a file from what only hinders reading it.

    Raises:
        FileNotFoundError: it is not there.
        DamagedStore: a link, a folder or a socket is there, or on the way.
        StorageError: the system refused for any other reason: nothing is known of the file.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _WRONG_KIND:
            raise DamagedStore(f"{place}: expected a plain file, {reason}") from error
        raise StorageError(
            f"cannot read {place}: {reason}; fix the cause and run the same command again"
        ) from error


def is_present(path: Path) -> bool:
    """Whether anything is there, a broken link too.

    `os.path.lexists` answers False where the system could not tell: a disk that fails for a moment
    would make a file absent.

    Raises:
        StorageError: the system could not tell.
    """
    with reading(path):
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def require_writable(folder: Path, needed: int = 0) -> None:
    """Make a folder, and see that files can be written there, before the work that ends in it.

    Args:
        folder: Made when missing.
        needed: Bytes that will surely be written.

    Raises:
        StoreError: they cannot, or the disk has too little space.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_TRIED))  # on a full disk a file without content can still be made
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(
            f"cannot write to {folder}: at least {needed / 1e6:.1f} MB will be needed and its disk "
            f"has {free / 1e6:.1f} MB free; make room, or give a folder on another disk"
        )


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    _fsync(folder)


def sync_all(paths: Sequence[Path]) -> None:
    """fsync files or folders together, so that the file system may write its journal once."""
    with ThreadPoolExecutor(min(8, len(paths))) as pool:
        for _ in pool.map(_fsync, paths):
            pass


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and fsync it; an existing one is an error."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def replace_synced(path: Path, content: bytes) -> None:
    """Put a file in place of an older one: a reader sees all of the old or all of the new."""
    temporary = _temporary_name(path)
    try:
        write_synced(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)


def create_synced(path: Path, content: bytes) -> bool:
    """Create a file whole, unless it is there already: of two racing callers one gets True."""
    temporary = _temporary_name(path)
    try:
        write_synced(temporary, content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if not _rename_new(temporary, path):
                return False
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)
    return True


def _rename_new(temporary: Path, path: Path) -> bool:
    """Rename where nothing is yet, without hard links: an empty file of that name is the claim.

    A reader sees nothing in it or all; only a kill between the two calls leaves an empty file.
    """
    try:
        claim = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    except FileExistsError:
        return False
    try:
        temporary.replace(path)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(claim)
    return True


def make_folder_synced(folder: Path) -> None:
    """Make a folder and those above it, so that their names survive a power cut."""
    missing = []
    above = folder.absolute()
    while not above.exists():
        missing.append(above)
        above = above.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        fsync_folder(path.parent)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def own_folder(root: Path, name: str, *, create: bool = False) -> Path:
    """A folder of a store, which must not be a link to elsewhere.

    Raises:
        DamagedStore: it is a link: nothing outside of the store is ever read or written.
    """
    folder = root / name
    with reading(folder):
        link, file = folder.is_symlink(), folder.is_file()
    if link:
        raise DamagedStore(f"{folder}: a link; a store's folders must be in the store")
    if file:
        raise DamagedStore(f"{folder}: a file where a folder of the store belongs; move it away")
    if create:
        with suppress(FileExistsError):
            folder.mkdir()
            fsync_folder(root)
    return folder


def open_beneath(folder: Path, relative: str) -> int:
    """Open a file below a folder for reading, following no link on the way; its descriptor."""
    *folders, name = relative.split("/")
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for step in folders:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(step, flags, dir_fd=here)
            os.close(here)
            here = inner
        # Not blocking: a named pipe without a writer would never be opened.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(name, flags, dir_fd=here)
    finally:
        os.close(here)


def read_beneath(folder: Path, relative: str, limit: int) -> bytes:
    """Read a small file below a folder, following no link on the way.

    Raises:
        FileNotFoundError: there is none.
        DamagedStore: a link or a device, or more than `limit` bytes.
        StorageError: it could not be read.
    """
    path = folder / relative
    with reading(path):
        return _read_whole(open_beneath(folder, relative), path, limit)


def copy_beneath(folder: Path, relative: str, target: Path) -> None:
    """Copy a file below a folder to a new file and fsync it; no link is followed on the way.

    Raises:
        DamagedStore: it is a link or no plain file, or a folder on the way is a link.
        FileExistsError: the target is there already.
    """
    place = folder / relative
    try:
        source = open_beneath(folder, relative)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedStore(f"{place}: expected a plain file, {error.strerror}") from error
    with os.fdopen(source, "rb") as reading:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            raise DamagedStore(f"{place}: expected a plain file; remove what is there")
        with target.open("xb") as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)
            writing.flush()
            os.fsync(writing.fileno())


def replace_beneath(folder: Path, relative: str, target: Path) -> None:
    """Like `copy_beneath`, in place of an older file: whole or not at all.

    Raises:
        DamagedStore: as `copy_beneath`.
    """
    temporary = _temporary_name(target)
    try:
        copy_beneath(folder, relative, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(target.parent)


def list_names(root: Path, folder: str) -> list[str]:
    """Sorted names in a folder of a store; [] without one."""
    try:
        with reading(root / folder):
            return sorted(path.name for path in own_folder(root, folder).iterdir())
    except FileNotFoundError:
        return []


def read_regular(path: Path, limit: int) -> bytes:
    """Read a small file that is no link and no larger than `limit` bytes.

    Raises:
        FileNotFoundError: there is none.
        DamagedStore: it is a link, a device, or larger than any such file can be.
        StorageError: it could not be read.
    """
    with reading(path):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        return _read_whole(fd, path, limit)


def _read_whole(fd: int, path: Path, limit: int) -> bytes:
    """The content of an open file, which is closed."""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedStore(f"{path}: expected a plain file; remove what is there")
        if status.st_size > limit:
            raise DamagedStore(f"{path}: expected at most {limit} bytes, found {status.st_size}")
        blocks = []
        left = status.st_size
        while left and (block := os.read(fd, left)):  # a read may be short, of a network's disk
            blocks.append(block)
            left -= len(block)
        return b"".join(blocks)
    finally:
        os.close(fd)
