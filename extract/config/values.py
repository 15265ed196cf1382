"""Values of options as the command line and files spell them."""

import os
from pathlib import Path
from typing import Any


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
