"""Parts that must not be read any more, even if a backup or a merge brings them back.

`tombstones/<part>.json` puts a whole part out of use; its name alone does so. Its content says
why, and which clips had no whole copy left to save.
"""

import time
from collections.abc import Sequence

from stepcli.cache.parts.commit import TOMBSTONES
from stepcli.cache.schema.manifest import SCHEMA
from stepcli.cache.storage.path import StoragePath
from stepcli.runtime.errors import DamagedStore
from stepcli.runtime.sealed_json import SEALED_LIMIT, seal, unseal

_FIELDS = {"schema_number", "part", "reason", "dropped_clips", "created"}


def bury(root: StoragePath, part: str, reason: str, dropped_clips: list[str]) -> None:
    """Put a part out of use permanently.

    Args:
        root: the store's folder.
        part: the part's name.
        reason: what was wrong with it.
        dropped_clips: those that must be extracted again.
    """
    folder = (root / TOMBSTONES).make_folder()
    (folder / f"{part}.json").create(_content(part, reason, dropped_clips))


def rewrite_tombstone(path: StoragePath) -> None:
    """Replace a damaged tombstone: its name says all that matters, and stays there throughout."""
    content = _content(path.name.removesuffix(".json"), "its tombstone was damaged", [])
    path.write(content)


def _content(part: str, reason: str, dropped_clips: list[str]) -> bytes:
    return seal(
        {
            "schema_number": SCHEMA,
            "part": part,
            "reason": reason,
            "dropped_clips": dropped_clips,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    )


def tombstone_files(root: StoragePath) -> Sequence[StoragePath]:
    """Every tombstone of a store."""
    names = (root / TOMBSTONES).child_names()
    return [root / TOMBSTONES / name for name in names if name.endswith(".json")]


def buried_parts(root: StoragePath) -> set[str]:
    """Names of the parts that are out of use."""
    return {path.name.removesuffix(".json") for path in tombstone_files(root)}


def check_tombstone(path: StoragePath) -> None:
    """Raise DamagedStore when a tombstone is not what was written."""
    content = unseal(path.read(SEALED_LIMIT), path)
    if content.keys() != _FIELDS or f"{content['part']}.json" != path.name:
        raise DamagedStore(f"{path}: not the tombstone of that part")
