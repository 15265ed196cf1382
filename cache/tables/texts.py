"""text/<tower>/: embeddings of label prompts, a description and a file of tensors that are one.

`text.json` names its file of tensors, `text-<sha256>.safetensors`, and is replaced last: who reads
it finds the tensors that it was written with, before, during and after a change. The file that was
named before stays until the change after, for those who read it at that moment.

Older stores have `text.safetensors`, and a text.json that carries no digest of its own: changes in
it, other than of the tensors' digest, cannot be told.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepcli.cache.parts.damaged import move_aside
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.tables.swap import attempts, sweep_temporaries
from stepcli.runtime.errors import DamagedStore, StorageError, StoreError
from stepcli.runtime.sealed_json import SEALED_LIMIT, seal, unseal

FOLDER = "text"
FACTS = "text.json"
OLD_TENSORS = "text.safetensors"
LIMIT = 1 << 30
"""Bytes of a file of tensors: a larger one is refused unread."""
_TENSORS = re.compile(r"text-[0-9a-f]{64}\.safetensors|text\.safetensors")


@dataclass(frozen=True)
class StoredText:
    """What one text.json says."""

    tower: str
    """Name of its folder."""
    facts: dict[str, object]
    """As they were written, without the fields below."""
    file: str
    """Name of the file of tensors."""
    sha256: Any
    """Of that file."""


def text_folders(root: StoragePath) -> list[str]:
    """Names of the towers' folders, sorted.

    Raises:
        DamagedStore: text/ or a folder in it is a link.
    """
    folder = root / FOLDER
    found = [name.split("/") for name in folder.names()]
    for steps in found:
        if len(steps) == 1:
            (folder / steps[0]).size()  # a link is refused
    return sorted({steps[0] for steps in found if steps[1:] == [FACTS]})


def read_text(root: StoragePath, tower: str) -> StoredText:
    """What the text.json of a tower says.

    Raises:
        FileNotFoundError: there is none.
        DamagedStore: it is not what was written, or a link.
    """
    folder = root / FOLDER / tower
    return _parse(folder.read_beneath(FACTS, SEALED_LIMIT), tower, folder / FACTS)


def read_tensors(folder: StoragePath, file: str, sha256: Any) -> bytes:
    """The bytes of a file of tensors.

    Args:
        folder: the tower's.
        file: its name, and
        sha256: its digest, as text.json has them.

    Raises:
        DamagedStore: they are not those that were written, or gone.
    """
    path = folder / file
    try:
        data = folder.read_beneath(file, LIMIT)
    except FileNotFoundError:
        raise DamagedStore(
            f"{path}: missing; embed the texts again: extract --text on the same store"
        ) from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DamagedStore(
            f"{path}: its digest is not the one in {FACTS}; embed the texts again: "
            "extract --text on the same store"
        )
    return data


def read_both(
    root: StoragePath, tower: str, text: StoredText | None = None
) -> tuple[StoredText, bytes]:
    """What the text.json of a tower says, and its tensors, of one moment.

    A file of tensors stays when it is replaced once, not twice: then both are read again.

    Args:
        root: the store.
        tower: name of the folder.
        text: what its text.json said just now; None: it is read.

    Raises:
        FileNotFoundError, DamagedStore: as of `read_text` and `read_tensors`.
    """
    text = text or read_text(root, tower)
    while True:
        try:
            return text, read_tensors(root / FOLDER / tower, text.file, text.sha256)
        except DamagedStore:
            newer = read_text(root, tower)
            if newer == text:
                raise
            text = newer


def write_text(
    root: StoragePath, tower: str, facts: Mapping[str, object], tensors: bytes
) -> StoragePath:
    """Put a tower's texts in place of older ones, both files at once; returns their folder.

    Args:
        root: the store.
        tower: name of the folder.
        facts: what was embedded.
        tensors: a safetensors file.
    """
    folder = root / FOLDER / tower
    digest = hashlib.sha256(tensors).hexdigest()
    file = f"text-{digest}.safetensors"
    with root.exclusive():
        ((root / FOLDER).make_folder() / tower).make_folder()
        for _ in attempts(folder / FACTS):
            seen = (folder / FACTS).look(SEALED_LIMIT)
            older = _older(seen.content, tower, folder / FACTS)
            (folder / file).write(tensors)
            content = {**facts, "file": file, "sha256": digest, "previous": older[:1]}
            if not (folder / FACTS).swap(seal(content), seen):
                continue
            sweep_temporaries(folder)
            for name in older[1:]:
                if name not in (file, older[0]):
                    (folder / name).remove()
            return folder
    raise AssertionError("attempts() ends with an error")


def copy_texts(source: StoragePath, target: StoragePath) -> tuple[list[str], list[str]]:
    """Copy the texts of another store that this one lacks; what is there stays.

    Returns:
        Towers that were copied, and those that the target has with other texts.
    """
    copied, differing = [], []
    there = text_folders(target)
    for tower in text_folders(source):
        if tower not in there:
            text, tensors = read_both(source, tower)
            write_text(target, tower, text.facts, tensors)
            copied.append(tower)
        elif read_text(target, tower).sha256 != read_text(source, tower).sha256:
            differing.append(tower)
    return copied, differing


def wrong_texts(root: StoragePath) -> Iterator[tuple[str, str]]:
    """What is wrong with a store's texts: (path below the store, text).

    Raises:
        StorageError: one could not be read.
    """
    try:
        towers = text_folders(root)
    except StorageError:
        raise
    except StoreError as error:
        yield FOLDER, str(error)
        return
    for tower in towers:
        file = FACTS
        try:
            text = read_text(root, tower)
            file = text.file
            read_both(root, tower, text)
        except FileNotFoundError:
            continue  # removed meanwhile
        except StorageError:
            raise
        except StoreError as error:
            yield f"{FOLDER}/{tower}/{file}", str(error)


def is_damaged(root: StoragePath, tower: str) -> bool:
    """Whether a tower's texts were read and are not what was written."""
    try:
        read_both(root, tower)
    except DamagedStore:
        return True
    except (FileNotFoundError, StoreError):
        return False
    return False


def set_aside(root: StoragePath, tower: str) -> None:
    """Move texts that are damaged to `.damaged/`, where nothing reads them."""
    with root.exclusive():
        if is_damaged(root, tower):  # not written anew meanwhile
            move_aside(root, f"{FOLDER}/{tower}")


def _older(content: bytes | None, tower: str, path: StoragePath) -> Sequence[str]:
    """Files of tensors that are there already: the one named, and the one named before."""
    if content is None:
        return []
    try:
        text = _parse(content, tower, path)
        previous = unseal(content, path).get("previous", []) if text.file != OLD_TENSORS else []
    except DamagedStore:
        return []  # what it named is not known, and stays
    named = [text.file, *(previous if isinstance(previous, list) else ())]
    return [name for name in named if isinstance(name, str) and _TENSORS.fullmatch(name)]


def _parse(data: bytes, tower: str, path: StoragePath) -> StoredText:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedStore(f"{path}: expected JSON, but {error}; extract --text again") from error
    if not isinstance(content, dict):
        raise DamagedStore(f"{path}: expected a JSON dict; extract --text again")
    if not {"digest", "file"} & content.keys():
        return StoredText(tower, content, OLD_TENSORS, content.get("sha256"))
    content = unseal(data, path)
    file, digest = content.pop("file", ""), content.pop("sha256", "")
    content.pop("previous", None)
    if file != f"text-{digest}.safetensors" or not _TENSORS.fullmatch(file):
        raise DamagedStore(f"{path}: file is {file!r:.60}; extract --text again")
    return StoredText(tower, content, file, digest)
