"""failures/<writer>.jsonl: one line a quarantined clip and attempt, appended at once.

A line carries the crc32c of its own content. The last line of a file may be torn by a crash;
any other line that does not read back is damage.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields

import google_crc32c

from stepcli.cache.parts.index import INDEX_LIMIT
from stepcli.cache.schema.clips import Failure
from stepcli.cache.storage.path import Location, StoragePath
from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.errors import DamagedStore

FOLDER = "failures"
_TYPES = {field.name: field.type for field in fields(Failure)}


class FailureLog:
    """The failures of one writer; the file appears with the first."""

    def __init__(self, root: StoragePath, writer: str) -> None:
        self._log = (root / FOLDER).open_log(writer)

    def append(self, failure: Failure) -> None:
        """Write one failure so that it survives a crash."""
        self._log.append(_line(failure))

    def close(self) -> None:
        """Close the file, if there was a failure at all."""
        self._log.close()


def read_failures(root: StoragePath) -> dict[str, Failure]:
    """The latest failure of each clip, by id: the highest attempt, then the last line."""
    latest: dict[str, Failure] = {}
    for path in failure_files(root):
        try:
            data = path.read(INDEX_LIMIT)
        except FileNotFoundError:
            return read_failures(root)  # a repair has put another file in its place
        for failure in parse_failures(data, path):
            known = latest.get(failure.id)
            if known is None or failure.attempt >= known.attempt:
                latest[failure.id] = failure
    return latest


def failure_files(root: StoragePath) -> Sequence[StoragePath]:
    """Every writer's file."""
    names = (root / FOLDER).child_names()
    return [root / FOLDER / name for name in names if name.endswith(".jsonl")]


def parse_failures(data: bytes, place: Location) -> Iterator[Failure]:
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
