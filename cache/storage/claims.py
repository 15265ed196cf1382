"""Mutual exclusion by files that are created exclusively, for file systems without locks.

`.claims/<number>` holds its owner's name, and "released" when that one is done. The next process
creates the next number: of several at once one succeeds. A number is taken after one that was
released, or whose owner was a process of this machine that is gone; none removes or overwrites
a claim that is not its own unless a higher one exists, so no claim is ever taken from an owner
that lives. No clock is compared: of an owner elsewhere that died only a person can tell.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepcli.cache.storage.writer_identity import is_dead, new_owner, parse_owner
from stepcli.runtime.errors import StoreError
from stepcli.runtime.files import (
    create_synced,
    list_names,
    own_folder,
    read_regular,
    replace_synced,
)
from stepcli.runtime.sealed_json import SEALED_LIMIT

FOLDER = ".claims"
RELEASED = b"released"
WAIT_SECONDS = 300.0
"""By this process's own clock: a change takes well under a second."""


@contextmanager
def claimed(root: Path) -> Iterator[None]:
    """Hold the claim on a store's tables.

    Raises:
        StoreError: another owner has held it for `WAIT_SECONDS`.
    """
    own_folder(root, FOLDER, create=True)
    mine = new_owner().name.encode()
    claim = _wait(root, mine)
    try:
        yield
    finally:
        replace_synced(claim, RELEASED)


def _wait(root: Path, mine: bytes) -> Path:
    end = time.monotonic() + WAIT_SECONDS
    pause = 0.02
    while True:
        numbers = _numbers(root)
        latest = numbers[-1] if numbers else 0
        if not latest or _is_free(_path(root, latest)):
            claim = _path(root, latest + 1)
            if create_synced(claim, mine):
                numbers = _numbers(root)
                if numbers[-1:] == [latest + 1]:
                    for number in numbers[:-1]:
                        _path(root, number).unlink(missing_ok=True)
                    return claim
                # The list was old: others have continued since, and removed this number.
                claim.unlink(missing_ok=True)
        if time.monotonic() > end:
            raise StoreError(
                f"{_path(root, latest)}: another process has been changing the tables for "
                f"{WAIT_SECONDS:.0f} s; if its owner {_owner(_path(root, latest))} has ended, "
                "delete that file and run this again"
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.2)


def _path(root: Path, number: int) -> Path:
    return root / FOLDER / f"{number:012d}"


def _numbers(root: Path) -> list[int]:
    return sorted(int(name) for name in list_names(root, FOLDER) if name.isdecimal())


def _owner(claim: Path) -> str:
    try:
        return read_regular(claim, SEALED_LIMIT).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _is_free(claim: Path) -> bool:
    name = _owner(claim)
    owner = parse_owner(name)
    # As touched now: a lease would compare clocks, so owners elsewhere count as alive.
    return name.encode() == RELEASED or (owner is not None and is_dead(owner, time.time()))
