"""Where stores are when the user does not say: the only one below the stores folder."""

import os
from pathlib import Path

from stepcli.cache.parts.commit import PARTS
from stepcli.cache.schema.manifest import FILE_NAME, read_manifest
from stepcli.cache.storage.path import StoragePath
from stepcli.cache.storage.places import place_of
from stepcli.runtime.errors import StoreError, StoreNotFound, UsageError

STORES_VARIABLE = "STEPCLI_STORES"


def stores_folder() -> Path:
    """Where stores are kept: environment variable STEPCLI_STORES, else ./stores."""
    return Path(os.environ.get(STORES_VARIABLE) or "stores")


def is_store(place: Path | str) -> bool:
    """Whether a folder or URL holds a store, or what is left of one."""
    try:
        read_manifest(place_of(place))
    except StoreNotFound:
        return False
    return True


def chosen_place(given: Path | None) -> StoragePath:
    """The same as the place that it is: a folder, or for a URL a prefix of objects.

    Raises:
        StoreNotFound: nothing of a store is there. What is damaged is left to those who read it.
    """
    place = place_of(locate_store(given))
    try:
        read_manifest(place)
    except StoreNotFound:
        if not (place / PARTS).is_there():
            raise
    except StoreError:
        pass
    return place


def existing_store(given: Path | None) -> Path:
    """The same as the path that it was given as; for commands that then import torch.

    Raises:
        StoreNotFound: it has no manifest.
        DamagedStore: its manifest is not what was written.
    """
    place = locate_store(given)
    read_manifest(place_of(place))
    return place


def locate_store(given: Path | None) -> Path:
    """The store that a command is about.

    Args:
        given: what --store says: a place, or the name of a store below the stores folder; None
            looks below that.

    Raises:
        UsageError: several stores are there.
        StoreNotFound: there is none.
    """
    folder = stores_folder()
    if given is not None:
        named = folder / given
        return named if not given.exists() and (named / FILE_NAME).is_file() else given
    stores = sorted(path.parent for path in folder.glob("*/manifest.json"))
    if not stores:
        raise StoreNotFound(
            f"no feature store below {folder}; make one with stepcli extract, or give --store "
            f"(or set {STORES_VARIABLE})"
        )
    if len(stores) > 1:
        names = ", ".join(str(path) for path in stores)
        raise UsageError(f"several feature stores below {folder}; choose with --store: {names}")
    return stores[0]
