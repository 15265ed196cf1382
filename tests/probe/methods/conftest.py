"""Texts that the tests of every method share."""

from collections.abc import Callable

import pytest
from every_method import CLASSES

from stepcli.probe.data.text import StoreText


@pytest.fixture(scope="session")
def text(text_of: Callable[..., StoreText]) -> StoreText:
    """Texts of a tower of 16 channels whose images have tokens of 32."""
    return text_of(CLASSES, dim=16, vision_dim=32)
