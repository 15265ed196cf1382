"""The feature store: the contract between extraction and probes.

Start here: `open_store(path)` to read, `create_store(path, spec, ...)` to write.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepcli.cache.store import Store, create_store, open_store

__all__ = ["Store", "create_store", "open_store"]


def __getattr__(name: str) -> Any:
    """Load the store's code on first use: importing a room must stay light."""
    if name in __all__:
        return getattr(import_module("stepcli.cache.store"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
