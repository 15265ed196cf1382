"""failures/<writer>.jsonl: one line a quarantined clip and attempt, appended at once.

A line carries the crc32c of its own content. The last line of a file may be torn by a crash;
any other line that does not read back is damage.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

import google_crc32c

from stepcli.cache.parts.index import INDEX_LIMIT
from stepcli.cache.schema.clips import Failure
from stepcli.cache.storage.files import Place, list_names, read_regular, replace_synced
from stepcli.cache.storage.objects import ObjectPath
from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.files import fsync_folder, own_folder

FOLDER = "failures"
_TYPES = {field.name: field.type for field in fields(Failure)}


class FailureLog:
    """The failures of one writer; the file appears with the first.

    In object storage, where nothing can be appended, every failure is an object of its own.
    """

    def __init__(self, root: Place, writer: str) -> None:
        self._root = root
        self._writer = writer
        self._written = 0
        self._fd: int | None = None
        self._path = Path()

    def append(self, failure: Failure) -> None:
        """Write one failure so that it survives a crash."""
        if isinstance(self._root, ObjectPath):
            name = f"{self._writer}-{self._written:06d}.jsonl"
            replace_synced(self._root / FOLDER / name, _line(failure))
            self._written += 1
            return
        while True:
            if self._fd is None:
                folder = own_folder(self._root, FOLDER, create=True)
                self._path = folder / f"{self._writer}.jsonl"
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
                self._fd = os.open(self._path, flags, 0o666)
                fsync_folder(folder)
            _append(self._fd, _line(failure))
            if self._in_place(self._fd):
                return
            self.close()  # a repair moved the file, perhaps before this line was in it

    def _in_place(self, fd: int) -> bool:
        """Whether the file that is being written still lies where readers look for it."""
        try:
            there = os.stat(self._path, follow_symlinks=False)  # noqa: PTH116
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(fd))

    def close(self) -> None:
        """Close the file, if there was a failure at all."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _append(fd: int, line: bytes) -> None:
    """Append a line wholly and durably, or not at all."""
    size = os.fstat(fd).st_size
    left = memoryview(line)
    try:
        while left:
            left = left[os.write(fd, left) :]
        os.fsync(fd)
    except OSError:
        with suppress(OSError):  # a torn line in the middle would be damage
            os.ftruncate(fd, size)
        raise


def read_failures(root: Place) -> dict[str, Failure]:
    """The latest failure of each clip, by id: the highest attempt, then the last line."""
    latest: dict[str, Failure] = {}
    for path in failure_files(root):
        try:
            data = read_regular(path, INDEX_LIMIT)
        except FileNotFoundError:
            return read_failures(root)  # a repair has put another file in its place
        for failure in parse_failures(data, path):
            known = latest.get(failure.id)
            if known is None or failure.attempt >= known.attempt:
                latest[failure.id] = failure
    return latest


def failure_files(root: Place) -> Sequence[Place]:
    """Every writer's file."""
    names = list_names(root, FOLDER)
    return [root / FOLDER / name for name in names if name.endswith(".jsonl")]


def parse_failures(data: bytes, place: Place | str) -> Iterator[Failure]:
    """The failures in a file, oldest first.

    Raises:
        DamagedStore: a line is not what was written.
    """
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            content.pop("crc32c", None)
            if content.keys() != _TYPES.keys():
                raise ValueError("other fields")
            if any(type(content[name]) is not kind for name, kind in _TYPES.items()):
                raise ValueError("a field of another type")
            failure = Failure(**content)
            if _line(failure) != line:
                raise ValueError("its checksum differs")
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            if number == len(lines) and _is_torn(line):
                return
            raise DamagedStore(
                f"{place}: line {number} is not what was written ({error})"
            ) from error
        yield failure


def intact_lines(data: bytes) -> tuple[bytes, int]:
    """The lines of a file that are what was written, and how many are not."""
    lines = data.splitlines(keepends=True)
    kept = []
    for line in lines:
        try:
            # A second line, so that a torn one is not let off as the last.
            if list(parse_failures(line + line, "")):
                kept.append(line)
        except DamagedStore:
            continue
    return b"".join(kept), len(lines) - len(kept)


def _is_torn(line: bytes) -> bool:
    """Whether a last line is the beginning of one that a crash cut off."""
    if line.endswith(b"\n"):
        return False
    try:
        json.loads(line[:-1])
    except ValueError:
        return True
    return False  # whole but for its last byte: that byte has changed


def _line(failure: Failure) -> bytes:
    content = asdict(failure)
    checksum = google_crc32c.value(canonical_json(content).encode())
    return (canonical_json({**content, "crc32c": checksum}) + "\n").encode()
