"""Small specs, clips and producers for the store's tests."""

import sys
from pathlib import Path

import pytest

# Tests run child processes that make the same clips: both import them from here.
sys.path.insert(0, str(Path(__file__).parent))

from sample_clips import PRODUCER, SPEC

from stepcli.cache.spec import Producer, StoreSpec


@pytest.fixture
def spec() -> StoreSpec:
    return SPEC


@pytest.fixture
def producer() -> Producer:
    return PRODUCER
