"""JSON files that carry the sha256 of their own content.

Such a file has exactly one spelling, so any flipped bit in it is found without a second file.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from stepcli.runtime.canonical_json import canonical_json
from stepcli.runtime.errors import DamagedStore

SEALED_LIMIT = 16 << 20
"""Bytes: no manifest or part.json is ever larger; a larger one is refused unread."""


def seal(content: Mapping[str, object]) -> bytes:
    """JSON text with its own sha256 under "digest"; equal contents give equal bytes."""
    digest = hashlib.sha256(canonical_json(content).encode()).hexdigest()
    sealed = {**content, "digest": digest}
    return (json.dumps(sealed, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def unseal(data: bytes, place: object) -> dict[str, Any]:
    """The content of a sealed file.

    Raises:
        DamagedStore: the bytes are not those that `seal` gave.
    """
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError("not an object")
        content.pop("digest", None)
        intact = seal(content) == data
    except (ValueError, RecursionError) as error:
        raise DamagedStore(f"{place}: not the JSON that was written ({error})") from error
    if not intact:
        raise DamagedStore(f"{place}: its bytes do not match the digest it carries")
    return content
