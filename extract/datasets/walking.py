"""Files below a folder: links are followed, and what no user put there is left out.

One rule for every reader of folders (data sets, folders of frames, folders of lists).
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted

_JUNK = frozenset(
    {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "#recycle", "$recycle.bin"}
    | {"system volume information", "lost+found"}
)
"""Left by macOS, Windows, and network drives."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is none of the user's data.

    Names that begin with a dot (.DS_Store, .ipynb_checkpoints, and ._* beside every file that a
    Mac wrote) and folders or files that systems leave behind.
    """
    return name.startswith(".") or name.lower() in _JUNK


def split_name(name: str) -> tuple[str, str]:
    """A file's name without its ending, and the ending with its dot ("" if there is none)."""
    stem, dot, ending = name.rpartition(".")
    return (stem, dot + ending) if stem else (name, "")


def is_text(name: str) -> bool:
    """Whether a name is UTF-8: stores, lists and reports cannot hold another."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown_name(path: Path) -> str:
    """A path that can be printed: bytes that are no UTF-8 as backslash and hexadecimal digits."""
    return os.fsencode(path).decode(errors="backslashreplace")


@dataclass
class Walk:
    """Every file below a folder, and what was met on the way."""

    root: Path
    not_text: list[Path] = field(default_factory=list)
    """Files that are left out since their path is not UTF-8."""
    loops: list[Path] = field(default_factory=list)
    """Links to a folder that holds them."""
    unreadable: list[Path] = field(default_factory=list)
    """Folders that this user may not list."""
    _above: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        real = self.root.resolve()
        self._above = [_identity(folder) for folder in (real, *real.parents)]

    def top(self) -> tuple[list[Path], list[Path]]:
        """The folders and the files directly in the root, sorted by name.

        Raises:
            UsageError: the root cannot be read.
        """
        entries = self._entries(self.root)
        folders = [Path(entry) for entry in entries if _is_folder(entry)]
        files = [Path(entry) for entry in entries if not _is_folder(entry)]
        return [folder for folder in folders if not self._is_loop(folder, self._above)], files

    def files(self, folder: Path | None = None) -> Iterator[Path]:
        """The files in and below a folder (the root if not given), in the order of their names.

        Raises:
            UsageError: the root cannot be read.
        """
        if folder is None:
            yield from self._below(self.root, self._above)
        else:
            yield from self._below(folder, [*self._above, _identity(folder)])

    def notes(self) -> tuple[str, ...]:
        """What a user should know of what was met."""
        found = (
            (self.not_text, "file", "with a name that is not UTF-8, or below such a name; rename"),
            (self.loops, "link", "to a folder that holds the link itself"),
            (self.unreadable, "folder", "that cannot be read"),
        )
        return tuple(
            f"left out {counted(len(paths), thing)} {why} "
            f"(first: {shown_name(paths[0].relative_to(self.root))})"
            for paths, thing, why in found
            if paths
        )

    def _entries(self, folder: Path) -> list["os.DirEntry[str]"]:
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not is_hidden(entry.name)]
        except OSError as error:
            if folder == self.root:
                place = shown_name(folder)
                raise UsageError(f"{place}: cannot be read ({error.strerror})") from error
            self.unreadable.append(folder)
            return []
        kept = [entry for entry in entries if is_text(entry.name)]
        for entry in sorted(set(entries).difference(kept), key=lambda entry: entry.name):
            if _is_folder(entry):
                self.not_text += _all_files(Path(entry))
            else:
                self.not_text.append(Path(entry))
        return sorted(kept, key=lambda entry: entry.name)

    def _below(self, folder: Path, above: list[tuple[int, int]]) -> Iterator[Path]:
        for entry in self._entries(folder):
            path = Path(entry)
            if not _is_folder(entry):
                yield path
            elif not self._is_loop(path, above):
                yield from self._below(path, [*above, _identity(path)])

    def _is_loop(self, folder: Path, above: list[tuple[int, int]]) -> bool:
        found = folder.is_symlink() and _identity(folder) in above
        if found:
            self.loops.append(folder)
        return found


def reached_twice(paths: Iterable[Path]) -> list[Path]:
    """Those of the files that an earlier path of them leads to as well, through links."""
    seen: set[tuple[int, int]] = set()
    again = []
    for path in paths:
        identity = _identity(path)
        if identity in seen:
            again.append(path)
        seen.add(identity)
    return again


def _all_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: an error where it is read
        return False


def _identity(path: Path) -> tuple[int, int]:
    """Device and number of what a path leads to; of the link itself where it leads nowhere."""
    try:
        found = path.stat()
    except OSError:
        found = path.lstat()
    return found.st_dev, found.st_ino
