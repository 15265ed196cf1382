"""One change at a time on the tables of a store.

On a disk the operating system's lock on `.tables.lock` is held from reading to writing: it ends
with its process, even if that is killed. File systems without such locks have numbered claims
instead (`claims.py`). Object storage needs neither: there `swap` is atomic, and a change that
another one overtook is refused and made again.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepcli.cache.storage.claims import claimed
from stepcli.runtime.errors import StoreError

LOCK = ".tables.lock"
WAIT_SECONDS = 300.0
"""A change takes well under a second; after so long its owner hangs."""
_WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems without locks answer: Lustre's default mount, some of FUSE."""


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold off other changes of the tables of a store on a disk. Parts need no lock.

    Raises:
        StoreError: another process has held it for `WAIT_SECONDS`.
    """
    fd = _open_lock(root / LOCK)
    try:
        try:
            fd = _locked(root / LOCK, fd)
        except OSError as error:
            if error.errno == errno.EBADF:  # NFS locks only what may be written
                raise StoreError(
                    f"{root / LOCK}: belongs to another user and cannot be locked; its owner can "
                    f"change that: chmod g+w {root / LOCK}"
                ) from error
            if error.errno not in _WITHOUT_LOCKS:
                raise
            with claimed(root):
                yield
            return
        try:
            yield
        finally:
            # Closing would not do: a process forked meanwhile has the descriptor too.
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _open_lock(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except PermissionError:
        # Another user's, whose umask keeps others from writing it: local locks need not write.
        return os.open(path, os.O_RDONLY | flags)


def _locked(path: Path, fd: int) -> int:
    """Wait for the lock; returns the descriptor that holds it."""
    end = time.monotonic() + WAIT_SECONDS
    pause = 0.005
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise StoreError(
                    f"{path}: another process has been changing the tables for "
                    f"{WAIT_SECONDS:.0f} s; end it (fuser {path} names it), then run this again"
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, 0.25)
            continue
        try:
            if os.path.samestat(os.fstat(fd), path.stat(follow_symlinks=False)):
                return fd
        except FileNotFoundError:
            pass
        # Somebody has removed or replaced the file: a lock on it excludes no one.
        fresh = _open_lock(path)
        os.dup2(fresh, fd, inheritable=False)
        os.close(fresh)
