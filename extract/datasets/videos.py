"""Which files are videos, and where a listed video lies if it has another ending."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from stepcli.extract.datasets.walking import Walk, is_hidden, split_name
from stepcli.runtime.words import counted

DEPTH_ENDING = ".mat"
"""Of depth sequences, which are read as if they were videos."""
DEPTH_READER = ("scipy.io", "depth", "reading MATLAB files")
"""What reads them: module, extra and words of `load_extra`."""

VIDEO_SUFFIXES = frozenset(
    {".264", ".265", ".3g2", ".3gp", ".amv", ".apng", ".asf", ".av1", ".avi", ".bik", ".dav"}
    | {".dif", ".divx", ".dv", ".evo", ".f4v", ".flv", ".gif", ".gxf", ".h264", ".h265", ".hevc"}
    | {".insv", ".ivf", ".lrv", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg"}
    | {".mjpg", ".mk3d", ".mkv", ".mov", ".mp2v", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpg"}
    | {".mpv", ".mts", ".mxf", ".nsv", ".nut", ".obu", ".ogm", ".ogv", ".ogx", ".qt", ".rm"}
    | {".rmvb", ".tod", ".trp", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".xvid", ".y4m"}
)
"""Endings that FFmpeg's demuxers of video are known by, in lower case."""


def is_video(name: str) -> bool:
    """Whether a file's name has a video's ending, in any case."""
    return split_name(name)[1].lower() in VIDEO_SUFFIXES


def videos_below(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Every video in and below a folder, and notes on what was met on the way."""
    walk = Walk(folder)
    return [path for path in walk.files() if is_video(path.name)], walk.notes()


def endings(names: Iterable[str]) -> str:
    """How many files of which ending, e.g. ".m2ts 2, .srt 1"; the most frequent first."""
    counts = Counter(split_name(name)[1].lower() or "no ending" for name in names)
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = [f"and {len(most) - 8} more endings"] if len(most) > 8 else []
    return ", ".join([*(f"{ending} {count}" for ending, count in most[:8]), *more])


def by_stem(videos: Iterable[Path], official: str) -> dict[str, Path]:
    """Videos by their name without its ending; of several, the official ending wins.

    Args:
        videos: wherever they lie.
        official: an ending in lower case, e.g. ".mp4".
    """
    found: dict[str, Path] = {}
    for path in videos:
        if path.stem not in found or path.suffix.lower() == official:
            found[path.stem] = path
    return found


def ending_notes(taken: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """A note on videos whose ending is not the official one listed before each name."""
    other = {name: ending for ending, name in taken if not name.lower().endswith(ending.lower())}
    if not other:
        return ()
    official = " or ".join(sorted(set(other.values())))
    return (
        f"{counted(len(other), 'video')} taken under another ending than the official "
        f"{official} ({endings(other)})",
    )


class Videos:
    """The videos of a list that names them with their official ending, wherever that differs.

    Args:
        folder: what the names are relative to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[str, dict[str, list[str]]] = {}  # folder -> stem -> names
        self._taken: list[tuple[str, str]] = []

    def find(self, name: str) -> Path:
        """The video that a list calls `name`: that file, or one of another video's ending.

        Where neither is there, the path under the official name: reading it says what is missing.
        """
        parent, slash, file = name.rpartition("/")
        if parent not in self._found:
            self._found[parent] = self._names(self._folder / parent)
        stem, ending = split_name(file)
        names = self._found[parent].get(stem, ())
        if names and file not in names:
            name = f"{parent}{slash}{names[0]}"
            self._taken.append((ending, name))
        return self._folder / name

    def notes(self) -> tuple[str, ...]:
        """How many were taken under another ending; () where none was."""
        return ending_notes(self._taken)

    @staticmethod
    def _names(folder: Path) -> dict[str, list[str]]:
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError:
            return {}
        found: dict[str, list[str]] = {}
        for name in names:
            if is_video(name) and not is_hidden(name):
                found.setdefault(split_name(name)[0], []).append(name)
        return found
