"""Files of code that this user has said may be executed where a run or a store names them.

A finished run names its method, and may come from anybody. A file is known by the SHA-256 digest of
its bytes: a changed file is another file.
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import disk_errors, read_regular, replace_synced
from stepcli.runtime.state import state_folder

TRUST_VARIABLE = "STEPCLI_OWN_CODE"
"""SHA-256 digests, separated by commas, that are trusted too: for batch jobs and containers."""
_LARGEST = 1 << 24
_SHORTEST = 8
"""Digits by which a digest may be named."""


@dataclass(frozen=True, slots=True)
class TrustedFile:
    """One file as it was when the user trusted it."""

    sha256: str
    path: str
    """Where it was then; only for people."""


def trust_file() -> Path:
    """Where trusted digests are kept."""
    return state_folder() / "trusted-code.jsonl"


def is_trusted(sha256: str) -> bool:
    """Whether the user trusts a file with this digest."""
    given = os.environ.get(TRUST_VARIABLE, "").split(",")
    return sha256 in given or any(entry.sha256 == sha256 for entry in trusted_files())


def trusted_files() -> list[TrustedFile]:
    """Every file that was trusted by `stepcli trust`, oldest first."""
    try:
        lines = read_regular(trust_file(), _LARGEST).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError, TypeError, KeyError):  # a line that a full disk cut off
            entry = json.loads(line)
            found.append(TrustedFile(str(entry["sha256"]), str(entry["path"])))
    return found


def trust(path: Path) -> TrustedFile:
    """Trust a file as it is now.

    Raises:
        UsageError: it is no Python file.
        StoreError: the list cannot be written.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give the Python file that a run names")
    if path.suffix != ".py":
        raise UsageError(f"{path} is no Python file; give the .py file that a run names")
    entry = TrustedFile(hashlib.sha256(path.read_bytes()).hexdigest(), str(path.absolute()))
    if entry.sha256 not in {known.sha256 for known in trusted_files()}:
        file = trust_file()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(file, flags, 0o600), "ab") as lines:
                lines.write(_line(entry))
    return entry


def distrust(given: str) -> list[TrustedFile]:
    """Trust a file no longer.

    Args:
        given: its path, now or when it was trusted; or the first digits of its digest.

    Returns:
        What was removed.

    Raises:
        UsageError: no trusted file is known by that name.
    """
    path = Path(given)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else given.lower()
    removed = [
        entry
        for entry in trusted_files()
        if entry.path == str(path.absolute())
        or (len(digest) >= _SHORTEST and entry.sha256.startswith(digest))
    ]
    if not removed:
        raise UsageError(f"{given} is not trusted; stepcli trust --list shows what is")
    file = trust_file()
    left = [entry for entry in trusted_files() if entry not in removed]
    with disk_errors(file):
        replace_synced(file, b"".join(_line(entry) for entry in left))
    return removed


def _line(entry: TrustedFile) -> bytes:
    return json.dumps({"sha256": entry.sha256, "path": entry.path}).encode() + b"\n"
