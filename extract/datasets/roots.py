"""Folders of videos that this user has named to `extract`, kept outside of any store.

A store names the files that its clips came from, and a store may come from anybody. Reports and
pictures therefore open a file only below a folder that its user has named himself: by `--videos`,
by STEPCLI_DATA, or in an earlier extraction.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from stepcli.runtime.errors import StoreError
from stepcli.runtime.files import read_regular
from stepcli.runtime.state import state_folder

MOST = 64
"""Folders kept of one extraction: more of them become their common parents."""
LIMIT = 1 << 24
"""Bytes of the file."""


def roots_file() -> Path:
    """Where they are kept."""
    return state_folder() / "video-folders.jsonl"


def folders_of(videos: Iterable[Path]) -> list[Path]:
    """Absolute folders that hold the videos, at most `MOST` where they have common parents."""
    folders = {parent.resolve() for parent in {path.parent for path in videos}}
    while len(folders) > MOST:
        deepest = max(len(folder.parts) for folder in folders)
        if deepest <= 3:  # rather many folders than all of /home
            break
        folders = {f.parent if len(f.parts) == deepest else f for f in folders}
    return sorted(f for f in folders if not any(parent in folders for parent in f.parents))


def remember_roots(videos: Iterable[Path]) -> None:
    """Keep the folders of videos that the user has named; without a place to keep them, do not."""
    file = roots_file()
    with suppress(OSError, StoreError, RuntimeError):
        known = set(_remembered(file))
        new = [folder for folder in folders_of(videos) if not is_below(folder, known)]
        if not new:
            return
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(file, flags, 0o600), "a", encoding="ascii") as lines:
            lines.write("".join(json.dumps(str(folder)) + "\n" for folder in new))


def known_roots() -> list[Path]:
    """Folders that the user has named: in extractions on this machine, and STEPCLI_DATA."""
    data = os.environ.get("STEPCLI_DATA")
    found = [Path(data).resolve()] if data else []
    with suppress(OSError, StoreError, RuntimeError):
        found += _remembered(roots_file())
    return found


def is_below(path: Path, roots: Iterable[Path]) -> bool:
    """Whether a resolved path is one of some resolved folders, or in one."""
    wanted = set(roots)
    return path in wanted or any(parent in wanted for parent in path.parents)


def _remembered(file: Path) -> list[Path]:
    try:
        lines = read_regular(file, LIMIT).decode("ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError):  # a line that a full disk cut off
            value = json.loads(line)
            if isinstance(value, str) and value.startswith("/"):
                found.append(Path(value))
    return found
