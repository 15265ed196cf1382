"""Values of options as the command line and files spell them."""

import os
import re
from pathlib import Path
from typing import Any

from stepcli.runtime.errors import UsageError

TOKENS_EXPECTED = "expected cls, grid<k> (e.g. grid4) or full, or several of them as in cls,grid4"
"""What --tokens may be."""
NO_MIRRORS = Path("none")


def require_token_names(text: str) -> None:
    """Refuse names of tokens that no backbone has.

    Raises:
        UsageError: naming the first one.
    """
    for name in (each.strip() for each in text.split(",")):
        if re.fullmatch(r"cls|full|grid[1-9]\d{0,2}", name) is None:
            raise UsageError(f"--tokens {name!r} is not known; {TOKENS_EXPECTED}")


def require_mirrors(file: Path | None) -> None:
    """Refuse a file of mirrored labels that is not there.

    Raises:
        UsageError: naming it.
    """
    if file not in (None, NO_MIRRORS) and not file.is_file():
        raise UsageError(f"--mirrors: there is no file {file}; expected a CSV, or the word none")


def read_layers(value: Any) -> Any:
    """ "-4,-1" -> (-4, -1)."""
    try:
        found = tuple(map(int, value.split(","))) if isinstance(value, str) else value
        layers = (found,) if isinstance(found, int) else tuple(found)
        if layers and max(layers) < 0:
            return layers
    except (TypeError, ValueError):
        pass
    raise ValueError("expected numbers counted from the end, e.g. -4,-3,-2,-1")


def read_options(value: Any) -> Any:
    """["name=value", ...] -> {name: value}."""
    if not isinstance(value, list):
        return value
    pairs = {}
    for text in value:
        name, separator, given = str(text).partition("=")
        if not separator:
            raise ValueError(f"expected NAME=VALUE, got {text!r}")
        pairs[name] = given
    return pairs


def read_place(value: Any) -> Any:
    """A path as text."""
    return os.fspath(value) if isinstance(value, Path) else value
