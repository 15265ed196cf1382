"""Parts that must not be read any more, even if a backup or a merge brings them back.

`tombstones/<part>.json` puts a whole part out of use; its name alone does so. Its content says
why, and which clips had no whole copy left to save.
"""

import time
from pathlib import Path

from stepcli.cache.durable import (
    SEALED_LIMIT,
    create_synced,
    own_folder,
    read_regular,
    seal,
    unseal,
)
from stepcli.cache.errors import DamagedStore
from stepcli.cache.manifest import SCHEMA
from stepcli.cache.parts import TOMBSTONES

_FIELDS = {"schema_number", "part", "reason", "dropped_clips", "created"}


def bury(root: Path, part: str, reason: str, dropped_clips: list[str]) -> None:
    """Put a part out of use for good.

    Args:
        root: the store's folder.
        part: the part's name.
        reason: what was wrong with it.
        dropped_clips: those that must be extracted again.
    """
    folder = own_folder(root, TOMBSTONES, create=True)
    content = {
        "schema_number": SCHEMA,
        "part": part,
        "reason": reason,
        "dropped_clips": dropped_clips,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    create_synced(folder / f"{part}.json", seal(content))


def tombstone_files(root: Path) -> list[Path]:
    """Every tombstone of a store."""
    return sorted(own_folder(root, TOMBSTONES).glob("*.json"))


def check_tombstone(path: Path) -> None:
    """Raise DamagedStore when a tombstone is not what was written."""
    content = unseal(read_regular(path, SEALED_LIMIT), path)
    if content.keys() != _FIELDS or f"{content['part']}.json" != path.name:
        raise DamagedStore(f"{path}: not the tombstone of that part")
