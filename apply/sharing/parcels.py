"""Which files of a probe or a store are given to others, and taken from them.

Both lists are one allow list: a file of another name stays where it is, and no link is followed,
neither to a file nor to a folder.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from stepcli.cache.parts.commit import PARTS, RECORD, TOMBSTONES, is_part_name, list_parts
from stepcli.cache.parts.record import is_part_file
from stepcli.cache.schema.manifest import FILE_NAME as MANIFEST
from stepcli.cache.storage.local import LocalPath
from stepcli.cache.tables import changes as tables
from stepcli.cache.tables.failures import FOLDER as FAILURES
from stepcli.cache.tables.table_versions import FOLDER as VERSIONS
from stepcli.runtime.errors import UsageError
from stepcli.runtime.files import copy_beneath, is_present

Kind = Literal["probe", "store"]

CARD = "README.md"
TEXT = "text"
"""Folder of text embeddings, of a store and of a probe that compares tokens with texts."""
PROBE_FILES = (
    *("run.json", "probe.safetensors", "calibration.json", "order.json", "dense.json"),
    *(CARD, "probe.onnx"),
)
STORE_FILES = (MANIFEST, tables.CLIPS, tables.CLASSES, tables.SEGMENTS, tables.DIGESTS)

PARCELS: dict[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "probe": (PROBE_FILES, (TEXT,)),
    "store": (STORE_FILES, (PARTS, TEXT, VERSIONS, FAILURES, TOMBSTONES)),
}
"""Files, and folders of which some files (see `is_permitted`) are given to others."""

_NAME = r"(?!\.)[^/\\\x00-\x1f\x7f]{1,255}"
"""A name of a file or folder: hidden ones, "..", and control characters are none."""
_BELOW = {
    TEXT: re.compile(rf"{_NAME}/[a-z][a-z0-9_.-]{{0,99}}\.(json|safetensors)"),
    VERSIONS: re.compile(r"[a-z]{1,40}-\d{6,12}-[0-9a-f]{64}\.(parquet|csv)"),
    FAILURES: re.compile(rf"{_NAME}\.jsonl"),
    TOMBSTONES: re.compile(rf"{_NAME}\.json"),
}


def is_permitted(kind: Kind, name: str) -> bool:
    """Whether a probe or a store may hold a file of that name.

    Args:
        kind: which of the two.
        name: below its folder, with "/" between folders.
    """
    files, folders = PARCELS[kind]
    if name in (*files, CARD):
        return True
    folder, _, below = name.partition("/")
    if folder not in folders:
        return False
    if folder != PARTS:
        return _BELOW[folder].fullmatch(below) is not None
    part, _, file = below.partition("/")
    return is_part_name(part) and (file == RECORD or is_part_file(file))


def files_of(folder: Path, kind: Kind) -> list[str]:
    """Paths below a folder that are given to others, sorted: no lock, no staging.

    Raises:
        UsageError: one of them is a link, which is never followed.
        DamagedStore: the same of a folder of a store.
    """
    files, folders = PARCELS[kind]
    # In parts/, only committed parts count.
    roots = [name for name in folders if name != PARTS]
    if PARTS in folders:
        roots += [f"{PARTS}/{part}" for part in list_parts(LocalPath(folder))]
    names = [name for name in files if is_present(folder / name)]
    for root in roots:
        if is_present(folder / root):
            names += [root] if (folder / root).is_symlink() else _walk(folder, root)
    for name in names:
        if (folder / name).is_symlink():
            raise UsageError(f"{folder / name} is a link, which is not followed; copy it there")
    return sorted(name for name in names if is_permitted(kind, name) and (folder / name).is_file())


def remove_strays(folder: Path, kind: Kind, *, keep: str) -> None:
    """Remove links, and files that such a folder may not hold, from what was received.

    Args:
        folder: where it was put; its own.
        kind: what it is.
        keep: a folder that is left alone.
    """
    for name in list(_walk(folder, "")):
        if name.partition("/")[0] == keep:
            continue
        path = folder / name
        if path.is_symlink() or not path.is_file() or not is_permitted(kind, name):
            path.unlink()


def copy_files(source: Path, names: list[str], target: Path) -> None:
    """Copy files below one folder to another; bytes are copied, links are not followed."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        copy_beneath(source, name, target / name)


def _walk(folder: Path, root: str) -> Iterator[str]:
    """Everything below a folder that is no folder itself: files, links (also to folders)."""
    with os.scandir(folder / root) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = f"{root}/{entry.name}" if root else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder, name)
        else:
            yield name
