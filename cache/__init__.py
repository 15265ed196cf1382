"""The feature store: the contract between extraction and probes.

Start here: `open_store(path)` to read, `create_store(path, spec, ...)` to write.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepcli.cache.store.own_tokens import TokenClip, write_tokens
    from stepcli.cache.store.store import Store, create_store, open_store
    from stepcli.cache.store.streaming import (
        TokenDataset,
        load_resident,
        load_resident_arrays,
        stream_clips,
    )

_HOMES = {
    "Store": "store.store",
    "TokenClip": "store.own_tokens",
    "TokenDataset": "store.streaming",
    "create_store": "store.store",
    "load_resident": "store.streaming",
    "load_resident_arrays": "store.streaming",
    "open_store": "store.store",
    "stream_clips": "store.streaming",
    "write_tokens": "store.own_tokens",
}

__all__ = [
    "Store",
    "TokenClip",
    "TokenDataset",
    "create_store",
    "load_resident",
    "load_resident_arrays",
    "open_store",
    "stream_clips",
    "write_tokens",
]


def __getattr__(name: str) -> Any:
    """Load the store's code on first use: importing a room must stay light."""
    if name in _HOMES:
        return getattr(import_module(f"stepcli.cache.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
