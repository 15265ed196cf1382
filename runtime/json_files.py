"""JSON files that people hand over, read whole, with one line that says what is wrong."""

import json
import math
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from stepcli.runtime.errors import DamagedStore, UsageError
from stepcli.runtime.files import read_regular

LARGEST = 1 << 28
"""Bytes: annotations of whole data sets are JSON; a larger file is refused unread."""
DEEPEST = 200
"""Levels of nested JSON."""

Kind = TypeVar("Kind")


def read_json(path: Path, kind: type[Kind], *, links: bool = True) -> Kind:
    """The document in a file.

    Args:
        path: UTF-8.
        kind: what it must be: dict or list.
        links: whether a link is followed; not in untrusted files.

    Raises:
        UsageError: there is no such file, it is no JSON, or of another kind.
    """
    try:
        value = json.loads(read_regular(path.resolve() if links else path, LARGEST))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; expected JSON") from None
    except (ValueError, RecursionError, OSError, DamagedStore) as error:
        raise UsageError(f"{path}: expected JSON, but {error}") from error
    if not isinstance(value, kind):
        raise UsageError(f"{path}: expected a JSON {kind.__name__}, found a {type(value).__name__}")
    return value


def is_plain(value: JsonValue, depth: int = DEEPEST) -> bool:
    """Whether no number is NaN or infinite, which JSON does not have, and nesting has an end."""
    if isinstance(value, dict):
        return depth > 0 and all(is_plain(each, depth - 1) for each in value.values())
    if isinstance(value, list):
        return depth > 0 and all(is_plain(each, depth - 1) for each in value)
    return not isinstance(value, float) or math.isfinite(value)
