"""Small specs, clips and producers for the store's tests; a server for those in object storage."""

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests run child processes that make the same clips: both import them from here.
sys.path.insert(0, str(Path(__file__).parent))

from s3_server import s3_server
from sample_clips import PRODUCER, SPEC

from stepcli.cache.schema.spec import Producer, StoreSpec
from stepcli.cache.storage.local import LocalPath


@pytest.fixture
def tmp_path(tmp_path: Path) -> LocalPath:
    """As the store's own code names a folder, since many tests here go below `open_store`."""
    return LocalPath(tmp_path)


@pytest.fixture
def spec() -> StoreSpec:
    return SPEC


@pytest.fixture
def producer() -> Producer:
    return PRODUCER


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Endpoint of a server that all tests of object storage share."""
    with s3_server(tmp_path_factory.mktemp("seaweedfs")) as endpoint:
        yield endpoint


@pytest.fixture
def url(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a store may be made; the environment says how to reach it, as a user's does."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return f"s3://features/{uuid.uuid4().hex}"
