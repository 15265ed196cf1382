"""One file of a part to read ranges of bytes from, on a disk or in object storage."""

from pathlib import Path

from stepcli.cache.parts.file_reader import OpenFile
from stepcli.cache.storage.files import Place
from stepcli.cache.storage.objects import ObjectPath
from stepcli.runtime.errors import StorageError


class OpenObject:
    """An object, read as `OpenFile` reads a file."""

    def __init__(self, path: ObjectPath) -> None:
        self.path = path
        self.size = path.client.size(path.key)

    def read_into(self, target: memoryview, offset: int) -> None:
        """Fill `target` (bytes, contiguous) from byte `offset` on."""
        (data,) = self.path.client.get_ranges(self.path.key, [offset], len(target))
        if len(data) != len(target):
            raise StorageError(
                f"cannot read {self.path}: the storage gave {len(data)} of {len(target)} bytes"
            )
        target[:] = memoryview(data).cast("B")


def open_source(folder: Place, file: str) -> OpenFile | OpenObject:
    """A file below a part's folder; no link is followed on the way.

    Raises:
        FileNotFoundError: there is none.
        DamagedStore: it is a link, or lies behind one.
    """
    if isinstance(folder, Path):
        return OpenFile(folder, file)
    return OpenObject(folder / file)
