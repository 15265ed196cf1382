"""Folders that appear whole beside others, and what killed writers have left of them."""

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stepcli.cache.storage.writer_identity import LEASE_HOURS, is_dead, new_owner, parse_owner
from stepcli.probe.runs.naming import read_identity
from stepcli.probe.runs.record import FILE, RunRecord
from stepcli.runtime.errors import StoreError, UsageError
from stepcli.runtime.files import disk_errors, fsync_folder, write_synced

PREFIX = ".writing-"
_EARLIER = re.compile(r"\..+[-.][0-9a-f]{32}")
"""Temporary names that do not say whose they are: of earlier versions, and of single files."""


@contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """A new folder to fill and rename; whatever is left of it at the end is removed.

    Its name says which process writes it, so that others can tell when that has been killed.
    """
    staging = parent / f"{PREFIX}{new_owner().name}"
    staging.mkdir(parents=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def sweep_staging(parent: Path) -> list[str]:
    """Remove what killed writers have left in a folder; returns the names.

    A name that does not say whose it is counts as left when it has not changed for a day.
    """
    swept = []
    for path in sorted(parent.glob(".*")) if parent.is_dir() else ():
        owner = parse_owner(path.name.removeprefix(PREFIX))
        if owner is None and not _EARLIER.fullmatch(path.name):
            continue
        try:
            touched = path.lstat().st_mtime
        except FileNotFoundError:  # its writer has just finished
            continue
        if owner is None:
            dead = time.time() - touched > LEASE_HOURS * 3600
        else:
            dead = path.name.startswith(PREFIX) and is_dead(owner, touched)
        if not dead:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        swept.append(path.name)
    return swept


def require_free(runs: Path, names: Iterable[str]) -> None:
    """Refuse to train runs whose folders are there and are no whole runs: a run appears whole.

    Raises:
        UsageError: naming the first.
    """
    places = [runs / name for name in names]
    taken = [place for place in places if os.path.lexists(place) and not (place / FILE).is_file()]
    if taken:
        more = "" if len(taken) == 1 else f" and {len(taken) - 1} more"
        raise UsageError(
            f"{taken[0]} is in the way: it is not a whole run (no {FILE}); delete it{more}, then "
            "run the same command again"
        )


def write_folder(runs: Path, record: RunRecord, contents: dict[str, bytes]) -> None:
    """Put a run's folder in place, whole; one that another process finished first is kept."""
    target = runs / record.run
    with disk_errors(target):
        with staging_folder(runs) as staging:
            for name, content in contents.items():
                write_synced(staging / name, content)
            write_synced(staging / FILE, record.encode())
            fsync_folder(staging)
            _rename(staging, target, record)
        fsync_folder(runs)


def _rename(staging: Path, target: Path, record: RunRecord) -> None:
    try:
        staging.rename(target)
    except OSError:
        # A folder cannot replace one that is not empty: another process finished this run first.
        if not (target / FILE).is_file():
            raise
        if read_identity(target.parent, target.name) != (record.identity or record.run):
            raise StoreError(
                f"{target} was written as another run meanwhile; run the same command again"
            ) from None
