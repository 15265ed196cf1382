"""Which words of a command line are trained probes, and which are videos."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcli.extract.datasets.videos import is_video, videos_below
from stepcli.extract.datasets.walking import shown_name
from stepcli.probe.runs.find import find_run, runs_in
from stepcli.runtime.errors import UsageError


@dataclass(frozen=True)
class InputVideo:
    """A video to answer about."""

    path: Path
    name: str
    """Its path below the folder that the user gave, or its file name: names the files of
    --out."""


def split_words(words: Sequence[str], runs: Path) -> tuple[list[Path], list[str]]:
    """Sort positional arguments into folders of trained probes and places of videos.

    A shell expands `--video clips/*.mp4` to one value and many positional arguments, so videos
    are accepted as arguments too.

    Args:
        words: A run's folder or name, a folder of runs, a video, a folder of videos, or a pattern.
        runs: Folder in which runs are found by name.

    Returns:
        Folders of runs, each once; and the words that are videos.

    Raises:
        UsageError: an argument is neither.
    """
    folders: dict[Path, None] = {}
    videos = []
    for word in words:
        if _is_pattern(word):
            found = [folder for path in _matches(word) for folder in runs_in(path)]
            if not found:
                videos.append(word)
        elif (one := find_run(word, runs)) is not None:
            found = [one]
        else:
            found = runs_in(Path(word))
            if not found and (Path(word).exists() or is_video(word)):
                videos.append(word)
            elif not found:
                raise UsageError(
                    f"{word} is neither a run ({runs}/<run>) nor a video; list the runs with "
                    "stepcli runs"
                )
        folders.update(dict.fromkeys(found))
    return list(folders), videos


def find_videos(words: Iterable[str]) -> tuple[list[InputVideo], list[str]]:
    """The videos that files, folders and patterns name, each once, and notes on what was skipped.

    Folders are searched with all folders below them. A file that does not exist is kept: reading
    it is an error of that video alone.

    Raises:
        UsageError: a folder holds no video, or a pattern matches nothing.
    """
    files: dict[Path, str] = {}
    single: list[Path] = []
    notes: list[str] = []
    for word in words:
        if not _is_pattern(word):
            places = [Path(word)]
        elif not (places := _matches(word)):
            raise UsageError(f"--video {word}: the pattern matches no file")
        for place in places:
            if not place.is_dir():
                files.setdefault(place, place.name)
                single.append(place)
                continue
            below, met = videos_below(place)
            notes += met
            if not below and len(places) == 1:
                raise UsageError(f"--video {shown_name(place)}: the folder holds no video")
            for path in below:
                files.setdefault(path, path.relative_to(place).as_posix())
    if len(set(files.values())) < len(files):  # a/000.mp4 and b/000.mp4
        files |= _below_common(single)
    return [InputVideo(path, name) for path, name in files.items()], notes


def _below_common(paths: Sequence[Path]) -> dict[Path, str]:
    """Names of files by their paths below the deepest folder that holds all of them."""
    places = {path: path.absolute() for path in paths}
    common = os.path.commonpath([place.parent for place in places.values()]) if places else ""
    return {path: place.relative_to(common).as_posix() for path, place in places.items()}


def _is_pattern(word: str) -> bool:
    """Whether a word is a pattern: a file whose name holds * or [ is that file."""
    return glob.has_magic(word) and not Path(word).exists()


def _matches(pattern: str) -> list[Path]:
    # Path.glob takes no absolute pattern, and would match hidden files.
    return [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
