"""Files under `.cache/` that are made from the parts, each named by the sha256 of its bytes.

They are never the truth: one that does not match its own name is ignored, and `repair` deletes it.
"""

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from stepcli.cache.parts.index import INDEX_LIMIT
from stepcli.cache.storage.path import StoragePath
from stepcli.runtime.errors import DamagedStore, StoreError

FOLDER = ".cache"
FEWEST_PARTS = 16
"""A store of fewer parts opens fast enough without."""
MOST_CLIPS = 1 << 26

Kind = Literal["index", "records"]
_NAME = re.compile(r"(index|records)-[0-9a-f]{64}\.parquet")


def derived_files(root: StoragePath, kind: Kind | None = None) -> Sequence[StoragePath]:
    """Every file of a kind, or of all kinds; also damaged ones."""
    found = ((name, _NAME.fullmatch(name)) for name in (root / FOLDER).child_names())
    return [root / FOLDER / name for name, match in found if match and kind in (None, match[1])]


def write_derived(root: StoragePath, kind: Kind, data: bytes) -> None:
    """Replace the files of a kind; where that cannot be written, do nothing."""
    with suppress(OSError, StoreError):  # every file system and server refuses in its own way
        older = list(derived_files(root, kind))
        folder = (root / FOLDER).make_folder()
        path = folder / f"{kind}-{hashlib.sha256(data).hexdigest()}.parquet"
        path.write(data)
        for other in older:
            if other != path:
                other.remove()


def read_derived(path: StoragePath) -> bytes:
    """The bytes of such a file.

    Raises:
        DamagedStore: they do not match its name.
        FileNotFoundError: the writer of a newer one has removed it.
    """
    data = path.read(INDEX_LIMIT)
    if not path.name.endswith(f"-{hashlib.sha256(data).hexdigest()}.parquet"):
        raise DamagedStore(f"{path}: its bytes do not match its name; delete it")
    return data


def pays_to_save(missing: int, parts: int) -> bool:
    """Whether reading that many of a store's parts once more costs more than writing a file."""
    return parts >= FEWEST_PARTS and missing >= max(FEWEST_PARTS // 2, parts // 50)
