"""The n-th call of a kind fails: what a disk answers, put in at the functions of `os` and `io`.

`Faults` is switched on in a process that ends with the round. It works wherever Python does; what
a library writes by itself does not pass here (libhdf5 writes through Python objects, see
cache/parts/hdf5_tokens.py; obstore is tried with a proxy instead).
"""

import builtins
import errno
import io
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHORT = "short"
"""No error: a read or a write that does only half of what was asked."""
PERSISTENT = ("ENOSPC", "EACCES")
"""Errors that stay once they have come."""
KINDS: dict[str, tuple[str, ...]] = {
    "open": ("open",),
    "read": ("read", "pread", "preadv", "readv"),
    "write": ("write", "pwrite"),
    "fsync": ("fsync",),
    "rename": ("rename", "replace", "link"),
    "unlink": ("unlink", "rmdir", "remove"),
    "list": ("scandir", "listdir"),
    "stat": ("stat", "lstat"),
    "mkdir": ("mkdir",),
    "truncate": ("truncate", "ftruncate"),
}
ERRORS: dict[str, tuple[str, ...]] = {
    "open": ("EIO", "ESTALE", "EMFILE", "EACCES"),
    "read": ("EIO", "ESTALE", SHORT),
    "write": ("EIO", "ENOSPC", SHORT),
    "fsync": ("EIO", "ENOSPC"),
    "rename": ("EIO", "ESTALE", "ENOSPC"),
    "unlink": ("EIO", "ESTALE"),
    "list": ("EIO", "ESTALE", "EMFILE"),
    "stat": ("EIO", "ESTALE"),
    "mkdir": ("EIO", "ENOSPC"),
    "truncate": ("EIO", "ENOSPC"),
}


class Faults:
    """Counts calls at files below a folder, and lets one of them fail.

    Args:
        root: only calls at paths below it count.
        kind: of call; "" lets none fail.
        error: name of an errno, or `SHORT`.
        number: which call of the kind fails, from 0.
    """

    def __init__(self, root: Path, kind: str = "", error: str = "", number: int = -1) -> None:
        self.counts: Counter[str] = Counter()
        self.hit = ""
        """The call that failed, "" when none did."""
        self._root = os.fsencode(root.resolve())
        self._kind, self._error, self._number = kind, error, number
        self._inside = False
        self._readlink = os.readlink

    def install(self) -> None:
        """Put the seam in, for the rest of this process's life."""
        for kind, names in KINDS.items():
            for name in names:
                setattr(os, name, self._wrapped(kind, name, getattr(os, name)))
        io.open = builtins.open = self._opening(io.open)  # type: ignore[assignment]
        for name in ("_USE_CP_SENDFILE", "_HAS_FCOPYFILE"):
            setattr(shutil, name, False)  # else copies pass by the seam

    def due(self, kind: str, where: Any) -> bool:
        """Count a call; whether it is to fail."""
        number = self.counts[kind]
        self.counts[kind] += 1
        late = self._error in PERSISTENT and number > self._number >= 0
        if kind == self._kind and (number == self._number or late):
            self.hit = self.hit or f"{kind} {number} at {os.fsdecode(where)}"
            return True
        return False

    def fail(self) -> None:
        """Raise the error that was asked for."""
        number = getattr(errno, self._error)
        raise OSError(number, os.strerror(number))

    @property
    def short(self) -> bool:
        """Whether what is due is half a call, not an error."""
        return self._error == SHORT

    def _path(self, target: Any, dir_fd: int | None) -> bytes:
        if isinstance(target, int):
            return self._link(target)
        path = os.fsencode(target)
        if dir_fd is not None:
            path = os.path.join(self._link(dir_fd), path)  # noqa: PTH118 (bytes)
        return os.path.abspath(path)  # noqa: PTH100 (bytes)

    def _link(self, descriptor: int) -> bytes:
        try:
            return os.fsencode(self._readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            return b""

    def _wrapped(self, kind: str, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any = ".", *words: Any, **named: Any) -> Any:
            dir_fd = named.get("dir_fd", named.get("src_dir_fd"))
            path = self._path(target, dir_fd)
            if path.startswith(self._root) and self.due(kind, path):
                if not self.short:
                    self.fail()
                return _half(name, real, target, words)
            return real(target, *words, **named)

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(
            file: Any, mode: str = "r", buffering: int = -1, *words: Any, **named: Any
        ) -> Any:
            path = self._path(file, None)
            if not path.startswith(self._root):
                return real(file, mode, buffering, *words, **named)
            if not isinstance(file, int) and self.due("open", path) and not self.short:
                self.fail()
            raw = _RawFile(self, file, mode.replace("b", ""), **_of_raw(named))
            if buffering == 0:
                return raw
            binary: Any
            if "+" in mode:
                binary = io.BufferedRandom(raw)
            elif "r" in mode:
                binary = io.BufferedReader(raw)
            else:
                binary = io.BufferedWriter(raw)
            text = {
                name: named[name] for name in ("encoding", "errors", "newline") if name in named
            }
            return binary if "b" in mode else io.TextIOWrapper(binary, **text)

        return opened


def _of_raw(named: dict[str, Any]) -> dict[str, Any]:
    return {name: named[name] for name in ("closefd", "opener") if name in named}


def _half(name: str, real: Callable[..., Any], target: Any, words: tuple[Any, ...]) -> Any:
    """Half of a read or a write: of one byte, and of any other call, all of it."""
    if name in ("read", "pread"):
        return real(target, max(1, words[0] // 2), *words[1:])
    if name in ("preadv", "readv"):
        (view,) = words[0]
        return real(target, [view[: max(1, len(view) // 2)]], *words[1:])
    if name in ("write", "pwrite"):
        data = memoryview(words[0]).cast("B")
        return real(target, data[: max(1, len(data) // 2)], *words[1:])
    return real(target, *words)


class _RawFile(io.FileIO):
    def __init__(self, faults: Faults, file: Any, mode: str, **named: Any) -> None:
        super().__init__(file, mode, **named)
        self._faults = faults
        self._where = faults._path(file, None)

    def write(self, data: Any) -> int:
        if self._faults.due("write", self._where):
            if not self._faults.short:
                self._faults.fail()
            data = memoryview(data).cast("B")
            data = data[: max(1, len(data) // 2)]
        return int(super().write(data) or 0)

    def readinto(self, buffer: Any) -> int:
        if self._faults.due("read", self._where):
            if not self._faults.short:
                self._faults.fail()
            buffer = memoryview(buffer).cast("B")
            buffer = buffer[: max(1, len(buffer) // 2)]
        return int(super().readinto(buffer) or 0)

    def truncate(self, size: int | None = None) -> int:
        if self._faults.due("truncate", self._where) and not self._faults.short:
            self._faults.fail()
        return super().truncate(size)
