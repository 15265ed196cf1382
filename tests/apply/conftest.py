"""What the tests of this room share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator["Hub"]:  # noqa: F821
    """A hub on the loopback that the client may talk to, whatever the suite forbids it else."""
    from hub_server import serving
    from huggingface_hub import constants

    # The suite forbids the client any network; what is asked here is the loopback alone.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Its newer way to send large files needs a server of another protocol; LFS is the older one.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with serving() as served:
        monkeypatch.setenv("HF_TOKEN", served.token)
        yield served
