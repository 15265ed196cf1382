"""Changes of a small file by several writers: attempts until none came between, and drafts left."""

import random
import re
import time
from collections.abc import Iterator

from stepcli.cache.storage.path import StoragePath
from stepcli.runtime.errors import StoreError

ATTEMPTS = 200
_TEMPORARY = re.compile(
    r"\.(tables\.json|text\.json|text-[0-9a-f]{64}\.safetensors|clips\.parquet|classes\.csv|"
    r"(clips|classes)-\d{6,12}-[0-9a-f]{64}\.(parquet|csv))\.[0-9a-f]{32}"
)
"""Names that `replace_synced` and `create_synced` give to drafts of files that a lock guards."""


def sweep_temporaries(folder: StoragePath) -> None:
    """Delete what killed writers left of files that were to be replaced.

    The caller holds the lock that their writers hold.
    """
    folder.sweep_drafts(lambda name: _TEMPORARY.fullmatch(name) is not None)


def attempts(what: StoragePath) -> Iterator[int]:
    """Numbers of attempts, with growing pauses between, drawn so that rivals do not keep step.

    Raises:
        StoreError: none of `ATTEMPTS` succeeded.
    """
    for number in range(ATTEMPTS):
        yield number
        time.sleep(random.uniform(0, min(0.02 * 2 ** min(number, 6), 1.0)))
    raise StoreError(
        f"{what}: others change it all the time; run the command again when they are done"
    )
