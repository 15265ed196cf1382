"""`folder`: one folder of videos per class."""

from collections.abc import Mapping
from pathlib import Path

from stepcli.cache.schema.alike import composed
from stepcli.cache.schema.split_names import SPELLINGS, normalise_split
from stepcli.extract.datasets.class_table import class_rows
from stepcli.extract.datasets.clip import Clip, Dataset, DatasetInfo
from stepcli.extract.datasets.videos import endings, is_video
from stepcli.extract.datasets.walking import Walk, reached_twice
from stepcli.runtime.errors import UsageError
from stepcli.runtime.words import counted


def load(root: Path, options: Mapping[str, str]) -> Dataset:
    """Read `root/<class>/**/<video>`, or `root/<split>/<class>/**/<video>`.

    The folders below the root are splits when all that hold a video have a split's name
    (`normalise_split`), whatever its case.

    Raises:
        UsageError: the root is no folder, holds no folder with a video, or splits beside classes.
    """
    del options
    if not root.is_dir():
        raise UsageError(f"folder: expected a folder with one folder per class, {root} is not one")
    walk = Walk(root)
    folders, loose = walk.top()
    files = {folder: list(walk.files(folder)) for folder in folders}
    others = [file.name for found in files.values() for file in found if not is_video(file.name)]
    homes = {
        folder: videos
        for folder, found in files.items()
        if (videos := [file for file in found if is_video(file.name)])
    }
    by_split = _are_splits(root, homes)
    clips, homeless = [], [file for file in loose if is_video(file.name)]
    for folder, videos in homes.items():
        for video in videos:
            below = video.relative_to(folder).parts
            if by_split and len(below) == 1:
                homeless.append(video)
                continue
            clips.append(
                Clip(
                    id=video.relative_to(root).as_posix(),
                    path=video,
                    label=composed(below[0] if by_split else folder.name),
                    split=normalise_split(folder.name) if by_split else "",
                )
            )
    if not clips:
        raise UsageError(
            f"folder: found no videos in {root}/<class>/ or {root}/<split>/<class>/ "
            f"({len(files)} folders; files of other endings: {endings(others) or 'none'})"
        )
    notes = list(walk.notes())
    if others:
        found = counted(len(others), "file")
        notes.append(f"left out {found} of endings that are no video's ({endings(others)})")
    if homeless:
        found = counted(len(homeless), "video")
        first = homeless[0].relative_to(root)
        notes.append(f"left out {found} in no class's folder (first: {first})")
    if again := reached_twice(clip.path for clip in clips):
        found = counted(len(again), "video")
        first = again[0].relative_to(root)
        notes.append(f"{found} reached by a second path and taken twice (first: {first})")
    if by_split:
        renamed = {folder.name: normalise_split(folder.name) for folder in homes}
        taken = [f"{name} as {split}" for name, split in renamed.items() if name != split]
        notes += [f"split names normalised: {', '.join(taken)}"] if taken else []
    classes = class_rows(sorted({clip.label for clip in clips}))
    return Dataset("folder", tuple(clips), classes, tuple(notes))


def _are_splits(root: Path, homes: Mapping[Path, list[Path]]) -> bool:
    """Whether the folders with videos are splits; refuses what is splits in part."""
    splits = [folder for folder in homes if normalise_split(folder.name) in SPELLINGS]
    # Splits hold folders of classes. A class called "train" has its videos directly.
    deep = [folder for folder in splits if _is_deep(folder, homes[folder])]
    if not deep:
        if splits and len(splits) == len(homes):
            raise UsageError(
                f"folder: {_names(splits)} in {root} have the names of splits and hold videos "
                "directly; expected <split>/<class>/<video>, or <class>/<video>"
            )
        return False
    if len(splits) == len(homes):
        return True
    rest = [folder for folder in homes if folder not in splits]
    raise UsageError(
        f"folder: {_names(deep)} in {root} look like splits, {_names(rest)} like classes; expected "
        "either <split>/<class>/<video> or <class>/<video>: move one kind away"
    )


def _is_deep(folder: Path, videos: list[Path]) -> bool:
    return any(video.parent != folder for video in videos)


def _names(folders: list[Path]) -> str:
    shown = [f"{folder.name}/" for folder in folders[:6]]
    return ", ".join([*shown, "..."] if len(folders) > 6 else shown)


INFO = DatasetInfo(
    name="folder",
    load=load,
    layout="""\
--root is a folder with one folder per class; its videos may lie at any depth below:
  <root>/<class>/<video>
or with a level of splits above the classes (train, val, test, or validation, dev, testing, ...,
in any case):
  <root>/<split>/<class>/<video>
Links to folders are followed. Hidden files (.*, __MACOSX) are ignored; files that have no video's
ending are left out and counted.""",
    source="your own videos",
)
