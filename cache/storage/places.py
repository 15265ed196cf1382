"""From what a user names to a path of the store: a folder, or a URL."""

from pathlib import Path

from stepcli.cache.storage.local import LocalPath
from stepcli.cache.storage.objects import URL, ObjectPath
from stepcli.cache.storage.path import StoragePath

_ALIASES = {"gcs": "gs"}


def place_of(path: str | Path | StoragePath) -> StoragePath:
    """A folder, or for a URL a prefix of objects."""
    if isinstance(path, StoragePath):
        return path
    match = URL.fullmatch(str(path))
    if match is None:
        return LocalPath(path)
    if match[1] in ("file", "local"):
        return LocalPath("/", match[2])
    scheme = _ALIASES.get(match[1], match[1])
    return ObjectPath.of(f"{scheme}://{match[2]}")
