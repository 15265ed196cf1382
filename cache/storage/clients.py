"""Which client serves which URL scheme: obstore's, the one in memory, or one of another package."""

from importlib.metadata import entry_points

from stepcli.cache.storage.memory_client import MemoryClient
from stepcli.cache.storage.object_client import ObjectClient
from stepcli.runtime.errors import UsageError

GROUP = "stepcli.storages"
"""Entry points of packages: the scheme is the name, an `ObjectClient` made from (url, address)
the value."""
OBSTORE = ("s3", "s3a", "gs", "az", "abfs", "abfss", "azure", "http", "https")

MEMORY = "memory"


def connect(url: str, address: str) -> ObjectClient:
    """Connect to a URL.

    Args:
        url: without credentials: what messages name.
        address: the same as it was given.

    Raises:
        UsageError: the scheme is unsupported, or its package is not installed.
    """
    scheme = url.partition("://")[0]
    if scheme in OBSTORE:
        try:
            from stepcli.cache.storage.obstore_client import ObstoreClient
        except ModuleNotFoundError as error:
            raise UsageError(
                f"{url}: object storage needs the extra s3 ({error.name} is missing); "
                "pip install 'stepcli[s3]'"
            ) from error
        return ObstoreClient(url, address)
    if scheme == MEMORY:
        return MemoryClient(address)
    found = {each.name: each for each in entry_points(group=GROUP)}
    if scheme not in found:
        known = ", ".join((*OBSTORE, MEMORY, *sorted(found)))
        raise UsageError(
            f"{url}: unsupported URL scheme {scheme!r}; supported: {known}; copy the store to one "
            "of these or to a disk, or install a package that adds the scheme (docs/storages.md)"
        )
    try:
        make = found[scheme].load()
    except ImportError as error:
        raise UsageError(
            f"{url}: scheme {scheme!r} is served by {found[scheme].value}, which cannot be "
            f"imported: {error}"
        ) from error
    client = make(url, address)
    if not isinstance(client, ObjectClient):
        raise UsageError(
            f"{url}: scheme {scheme!r} is served by {found[scheme].value}; expected an "
            f"ObjectClient, found {type(client).__name__}"
        )
    return client
