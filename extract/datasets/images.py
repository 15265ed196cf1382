"""Which files of a folder are the frames of a clip: by their names alone.

- Hidden files count for nothing (`walking.is_hidden`), nor do names that begin or end with thumb,
  thumbnail, preview, poster, cover, folder or albumart, where other images are there.
- Of several kinds of files (JPEG, PNG, ...) the one with the most files is taken, JPEG first where
  two are alike (images beside their masks or depths). Kinds that share no name are a sequence that
  was written in two kinds, which is refused.
- Frames come in the order of the numbers in their names. Several sequences with the same numbers
  (flow_x_0001 beside img_0001) are refused.
"""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from stepcli.extract.datasets.walking import is_hidden, split_name
from stepcli.runtime.errors import VideoError
from stepcli.runtime.words import counted

KINDS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}
"""Formats that are opened as images, and the endings of their files."""

_KIND_OF = {ending: kind for kind, endings in KINDS.items() for ending in endings}
_EXTRA = "thumb|thumbnail|preview|poster|cover|folder|albumart"
_NO_FRAME = re.compile(rf"(?:{_EXTRA})(?:[^a-z].*|s|small|large)?|.*[^a-z](?:{_EXTRA})s?")
_NUMBER = re.compile(r"([0-9]+)")


def has_images(folder: Path) -> bool:
    """Whether a folder holds an image; False where it is none."""
    try:
        with os.scandir(folder) as entries:
            return any(is_image(entry.name) for entry in entries)
    except OSError:
        return False


def frame_files(folder: Path) -> list[Path]:
    """The images of a folder that are the frames of one clip, in order.

    Raises:
        VideoError: the folder cannot be read or holds no frame, or it is not clear which are.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        raise VideoError(f"cannot be read ({error.strerror})") from error
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if kind := _kind(name):
            kinds[kind].append(name)
    if not kinds:
        raise VideoError("a folder without images")
    frames = {kind: found for kind, images in kinds.items() if (found := _without_extras(images))}
    chosen = _chosen(frames or kinds)
    _require_one_sequence(chosen)
    return [folder / name for name in sorted(chosen, key=_order)]


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image that frames are read from."""
    return _kind(name) is not None


def _kind(name: str) -> str | None:
    return None if is_hidden(name) else _KIND_OF.get(split_name(name)[1].lower())


def _without_extras(names: Sequence[str]) -> list[str]:
    return [name for name in names if not _NO_FRAME.fullmatch(_stem(name).lower())]


def _chosen(kinds: Mapping[str, list[str]]) -> list[str]:
    """The names of the kind with the most files, one per frame."""
    order = list(KINDS)
    best = min(kinds, key=lambda kind: (-len(kinds[kind]), order.index(kind)))
    stems = {_stem(name) for name in kinds[best]}
    shapes = {_shape(stem) for stem in stems}
    for kind, names in kinds.items():
        others = {stem for name in names if _shape(stem := _stem(name)) in shapes} - stems
        if others:
            raise VideoError(
                f"holds {counted(len(stems), f'{best} frame')}, and {len(others)} of {kind} with "
                "other numbers: convert all to one kind"
            )
    # 1.jpg beside 1.jpeg or 1.JPG: the first of these endings, lower case first.
    endings = KINDS[best]

    def rank(name: str) -> tuple[int, bool, str]:
        ending = split_name(name)[1]
        return endings.index(ending.lower()), not ending.islower(), name

    by_stem: dict[str, str] = {}
    for name in sorted(kinds[best], key=rank):
        by_stem.setdefault(_stem(name), name)
    return list(by_stem.values())


def _require_one_sequence(names: Sequence[str]) -> None:
    """Refuse two files of the same number: which of them is the frame?"""
    seen: dict[tuple[int, ...], str] = {}
    for name in sorted(names):
        numbers = tuple(map(int, _NUMBER.findall(_stem(name))))
        other = seen.setdefault(numbers, name)
        if numbers and other != name:
            raise VideoError(
                f"holds several sequences of frames ({other} and {name} have the same number): put "
                "each into its own folder"
            )


def _stem(name: str) -> str:
    return split_name(name)[0]


def _shape(stem: str) -> str:
    """The stem with # for each number: what all frames of a sequence share."""
    return _NUMBER.sub("#", stem)


def _order(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Natural order: 2 is before 10, img_9 before img_10."""
    parts = _NUMBER.split(_stem(name))  # text and numbers in turns
    return [(bool(k % 2), int(part) if k % 2 else 0, part) for k, part in enumerate(parts)], name
