"""What the whole suite shares."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Nothing is fetched from a hub: a test that would need it must fail, not wait.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the source tree."""
    return Path(__file__).resolve().parents[1]


Stepcli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def stepcli() -> Stepcli:
    """Run `stepcli WORDS...` in a process of its own; the caller judges the exit code."""

    def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stepcli.cli", *map(str, words)],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    return run


@pytest.fixture(scope="session")
def openclose_store(stepcli: Stepcli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's store: 384 bundled clips, 16 frames, 2 x 2 tokens. Never write to it."""
    store = tmp_path_factory.mktemp("openclose") / "store"
    words = "extract --dataset openclose --backbone mobilenet_v2-bundled --frames 16 --tokens grid2"
    done = stepcli(*words.split(), "--store", store)
    assert done.returncode == 0, done.stderr
    return store
