"""`folder`: one folder of videos a class."""

from collections.abc import Mapping
from pathlib import Path

from stepcli.cache.errors import UsageError
from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo

SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read `root/<class>/**/<video>`, or `root/<split>/<class>/**/<video>`.

    A level of splits is taken for one when every folder below the root has a split's name.

    Raises:
        UsageError: the root is no folder, or holds no folder with a video.
    """
    del options
    if not root.is_dir():
        raise UsageError(f"folder: expected a folder with one folder a class, but {root} is none")
    below = subfolders(root)
    by_split = bool(below) and all(folder.name in SPLITS for folder in below)
    homes = [(SPLITS[folder.name], folder) for folder in below] if by_split else [("", root)]
    clips = []
    for split, home in homes:
        for folder in subfolders(home):
            clips += [
                Clip(
                    id=video.relative_to(root).as_posix(),
                    path=video,
                    label=folder.name,
                    split=split,
                )
                for video in videos_below(folder)
            ]
    if not clips:
        raise UsageError(
            f"folder: found no videos in {root}/<class>/ or {root}/<split>/<class>/ "
            f"({len(below)} folders; endings known: {' '.join(sorted(VIDEO_SUFFIXES))})"
        )
    return Dataset("folder", tuple(clips), class_rows(sorted({clip.label for clip in clips})))


def subfolders(folder: Path) -> list[Path]:
    """The folders directly below one, sorted by name, hidden ones left out."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def videos_below(folder: Path) -> list[Path]:
    """Every file below a folder that has a video's ending, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and path.name[0] != "." and not path.is_dir()
    )


INFO = DatasetInfo(
    name="folder",
    load=load,
    layout="""\
--root is a folder with one folder a class; its videos may lie at any depth below:
  <root>/<class>/<video>
or with a level of splits above the classes (train, val, test; validation and valid mean val):
  <root>/<split>/<class>/<video>""",
    source="your own videos",
)
