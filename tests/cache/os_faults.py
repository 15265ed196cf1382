"""Errors of the operating system, at chosen files: what a disk or a permission says no to."""

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

READS = ("open", "scandir", "listdir", "stat", "lstat", "read", "pread", "preadv", "readv")


def _path_of(target: Any, dir_fd: int | None) -> str:
    if isinstance(target, int):
        try:
            return str(Path(f"/proc/self/fd/{target}").readlink())
        except OSError:
            return ""
    path = os.fspath(target)
    if dir_fd is not None:
        path = str(Path(f"/proc/self/fd/{dir_fd}").readlink() / path)
    return os.fsdecode(path)


@contextmanager
def unreadable(where: Callable[[str], bool], code: int, calls: tuple[str, ...]) -> Iterator[None]:
    """Let `os` functions fail with an error at the paths that `where` picks.

    Args:
        where: from a path to whether it fails.
        code: of errno.
        calls: names in `os`.
    """

    def failing(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any = ".", *words: Any, **named: Any) -> Any:
            path = _path_of(target, named.get("dir_fd"))
            if where(path):
                raise OSError(code, os.strerror(code), path)
            return real(target, *words, **named)

        return call

    with mock.patch.multiple(os, **{name: failing(name, getattr(os, name)) for name in calls}):
        if "open" not in calls:
            yield
            return
        opened = failing("open", io.open)
        with mock.patch.object(io, "open", opened), mock.patch.object(builtins, "open", opened):
            yield


IO_ERRORS = (
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE),
    *(errno.ENOMEM, errno.EACCES, errno.EPERM),
)
