"""The files of one part: checked against its record."""

import hashlib
from contextlib import closing

from stepcli.cache.parts.file_record import FileRecord
from stepcli.cache.storage.path import StoragePath
from stepcli.runtime.errors import DamagedStore


def file_record(path: StoragePath) -> FileRecord:
    """Size and sha256 of a file, read in blocks."""
    digest, size = hashlib.sha256(), 0
    with closing(path.blocks()) as blocks:
        for block in blocks:
            digest.update(block)
            size += len(block)
    return FileRecord(size=size, sha256=digest.hexdigest())


def wrong_file(path: StoragePath, expected: FileRecord) -> str:
    """What is wrong with one file of a part, "" when nothing is.

    Raises:
        StorageError: it could not be read.
    """
    try:
        size = path.size()
    except FileNotFoundError:
        return "missing"
    except DamagedStore:
        return "not a plain file"
    if size != expected.size:
        return f"expected {expected.size} bytes, found {size}"
    if file_record(path).sha256 != expected.sha256:
        return "its bytes do not match their digest"
    return ""
