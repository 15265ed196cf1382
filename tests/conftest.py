"""What the whole suite shares."""

import os
from pathlib import Path

import pytest

# Nothing is fetched from a hub: a test that would need it must fail, not wait.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the source tree."""
    return Path(__file__).resolve().parents[1]
