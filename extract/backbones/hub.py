"""Whether the hub answers at all: asked once; its client would ask six times in half a minute."""

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError

SECONDS = 3.0


def hub_host() -> str:
    """The hub's name, HF_ENDPOINT's where that is set."""
    return urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT


def why_unreachable() -> str | None:
    """Why no connection to the hub comes about; None where it does, or where a proxy would know."""
    if getproxies():
        return None
    port = urlsplit(constants.ENDPOINT).port or 443
    try:
        socket.create_connection((hub_host(), port), timeout=SECONDS).close()
    except OSError as error:
        return str(error)
    return None


def require_cached_or_reachable(place: str, revision: str | None) -> None:
    """Nothing to ask where the model is a folder or in the cache, or the hub can be reached.

    Raises:
        LocalEntryNotFoundError: neither.
    """
    if Path(place).is_dir() or constants.HF_HUB_OFFLINE:
        return
    if isinstance(try_to_load_from_cache(place, "config.json", revision=revision), str):
        return
    reason = why_unreachable()
    if reason is not None:
        raise LocalEntryNotFoundError(f"{hub_host()}: {reason}")
