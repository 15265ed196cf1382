"""A store that the tests of training share."""

from collections.abc import Callable

import pytest

from stepcli.cache.store.store import Store


@pytest.fixture(scope="module")
def rich(
    store_of: Callable[..., Store],
    text_of: Callable[..., object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Store:
    """A store with all that any method asks for: a CLS beside the patches, and texts."""
    store = store_of(tmp_path_factory.mktemp("rich") / "store", cls=True)
    text_of(["close", "open"], store=store.path, dim=8, vision_dim=16)
    return store
