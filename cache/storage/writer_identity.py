"""Who is writing: the name of a staging folder says whose it is and whether that one still lives.

A name is host~boot~pid~start~uuid. Only folders whose owner is provably dead are swept: a process
of this very machine (same host, boot and process namespace) that is gone or has another start
time. A process that is there but may not be looked at (another user's, where /proc is mounted with
hidepid), and an owner elsewhere, of which nothing can be known, count as dead only when nobody has
touched their folder for `LEASE_HOURS`.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LEASE_HOURS = 24.0
"""A folder of another machine that shows no heartbeat for so long is dead."""
HEARTBEAT_SECONDS = 60.0
STAGING = ".staging"
"""Folder of a store on a disk with the staging folders of its writers."""

_PROC = Path("/proc")
_NAME = re.compile(r"([\w.-]{1,80})~([\w.-]{1,80})~(\d{1,10})~(\d{1,20})~([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Owner:
    """One writing process, and one writer within it."""

    host: str
    boot: str
    """Boot id and process namespace: a pid means nothing outside of these."""
    pid: int
    start: int
    """When the process started, in the system's own unit; tells a reused pid apart."""
    unique: str

    @property
    def name(self) -> str:
        """Name of the owner's staging folder."""
        return f"{self.host}~{self.boot}~{self.pid}~{self.start}~{self.unique}"


def new_owner() -> Owner:
    """An owner for the calling process."""
    pid = os.getpid()
    return Owner(_host(), _boot(), pid, _start_of(pid) or 0, uuid.uuid4().hex)


def parse_owner(name: str) -> Owner | None:
    """The owner that a folder's name tells, None when it is no such name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    host, boot, pid, start, unique = match.groups()
    return Owner(host, boot, int(pid), int(start), unique)


def is_dead(owner: Owner, last_sign_seconds: float) -> bool:
    """Whether an owner has provably gone.

    Args:
        owner: whose staging folder it is.
        last_sign_seconds: when the folder was last touched, seconds since the epoch.
    """
    if owner.host == _host() and owner.boot == _boot():
        try:
            return _start_of(owner.pid) != owner.start
        except PermissionError:
            pass
    return time.time() - last_sign_seconds > LEASE_HOURS * 3600


def owned(folders: Iterable[Path], prefix: str = "") -> Iterator[tuple[Owner, Path]]:
    """Those of some folders whose name, after a prefix, tells an owner."""
    for folder in folders:
        owner = parse_owner(folder.name.removeprefix(prefix))
        if owner is not None and folder.is_dir() and not folder.is_symlink():
            yield owner, folder


def sweep_folders(folders: Iterable[Path], prefix: str = "") -> list[str]:
    """Delete the staging folders of dead owners; their names."""
    swept = []
    for owner, folder in owned(folders, prefix):
        try:
            last_sign = folder.stat().st_mtime
        except FileNotFoundError:  # its owner has just finished
            continue
        if is_dead(owner, last_sign):
            shutil.rmtree(folder, ignore_errors=True)  # another sweeper may be at it too
            if not folder.exists():  # else another user's
                swept.append(folder.name)
    return swept


@cache
def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname())[:80] or "unknown"


@cache
def _boot() -> str:
    if sys.platform == "linux":
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
        return re.sub(r"[^\w.-]", "_", f"{boot}.{namespace}")
    said = subprocess.run(
        ["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=True
    )
    return re.sub(r"[^\w.-]", "_", said.stdout.split("}")[0])[:80]


def _exists(pid: int) -> bool:
    """Whether there is such a process, also where /proc does not show it."""
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # another user's
    return True


def _start_of(pid: int) -> int | None:
    """When a process started; None when there is no such process.

    Raises:
        PermissionError: there is one, of which no more can be known.
    """
    if sys.platform == "linux":
        try:
            status = (_PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            if not _exists(pid):
                return None
            raise PermissionError(f"process {pid} is hidden") from None
        # The second field is the program's name in brackets and may itself hold brackets.
        fields = status.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    said = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    if not said.stdout.strip():
        return None
    return int(time.mktime(time.strptime(said.stdout.strip())))
