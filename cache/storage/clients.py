"""Which client serves a URL scheme: obstore's, memory, or one of an installed package."""

from stepcli.cache.storage.memory_client import MemoryClient
from stepcli.cache.storage.object_client import ObjectClient
from stepcli.runtime.errors import UsageError
from stepcli.runtime.extras import load_extra
from stepcli.runtime.plugins import find_plugin, plugins

GROUP = "stepcli.storages"
"""Entry points: the name is a URL scheme, the value makes an `ObjectClient` of (url, address)."""
OBSTORE = ("s3", "s3a", "gs", "az", "abfs", "abfss", "azure", "http", "https")
MEMORY = "memory"


def connect(url: str, address: str) -> ObjectClient:
    """Connect to a URL.

    Args:
        url: without credentials: what messages name.
        address: the same as it was given.

    Raises:
        UsageError: the scheme is unsupported, or its package is not installed or broken.
    """
    scheme = url.partition("://")[0]
    plugin = find_plugin(GROUP, scheme, (*OBSTORE, MEMORY))
    if scheme == MEMORY:
        return MemoryClient(address)
    if scheme in OBSTORE:
        load_extra("obstore", "s3", f"{url}: object storage")
        from stepcli.cache.storage.obstore_client import ObstoreClient

        return ObstoreClient(url, address)
    if plugin is None:
        known = ", ".join((*OBSTORE, MEMORY, *sorted(plugins(GROUP))))
        raise UsageError(
            f"{url}: unsupported URL scheme {scheme!r}, expected one of {known}; copy the store "
            "there or to a disk, or install a package that adds the scheme (docs/storages.md)"
        )
    client = plugin.load()(url, address)
    if not isinstance(client, ObjectClient):
        raise UsageError(
            f"{url}: {plugin.value} of the package {plugin.package} returned "
            f"{type(client).__name__}, expected an ObjectClient; update or uninstall that package"
        )
    return client
