"""Delete finished runs; nothing that is not one."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from stepcli.cache.storage.writer_identity import new_owner
from stepcli.probe.runs.record import FILE, read_run
from stepcli.probe.runs.staging import PREFIX
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import disk_errors


@dataclass(frozen=True)
class RunFolder:
    """A run that may be deleted."""

    folder: Path
    bytes: int
    files: int


def removable(folder: Path) -> RunFolder:
    """A run's folder with its size.

    Raises:
        UsageError: it is no finished run, or a link to one.
    """
    if folder.is_symlink():
        raise UsageError(f"{folder} is a link; delete the run that it points to, or the link")
    read_run(folder / FILE)  # refuses what is no run
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return RunFolder(folder, sum(path.stat().st_size for path in files), len(files))


def remove(run: RunFolder) -> None:
    """Delete a run; a reader sees all of it or nothing.

    Raises:
        StoreError: the disk refuses.
    """
    with disk_errors(run.folder):
        # A name that the next training sweeps, should this process be killed now.
        going = run.folder.with_name(f"{PREFIX}{new_owner().name}")
        run.folder.rename(going)
        shutil.rmtree(going)
