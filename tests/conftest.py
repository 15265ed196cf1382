"""What the whole suite shares."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # for command_line.py

from installed_package import Installer

# A loaded machine takes seconds for what another does at once: that is no failure.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")
# Nothing is fetched from a hub: a test that would need it must fail, not wait.
os.environ["HF_HUB_OFFLINE"] = "1"
# What extractions remember of their user is no part of the tests.
_state = tempfile.TemporaryDirectory(prefix="stepcli-tests-")
os.environ.setdefault("STEPCLI_STATE", _state.name)  # workers have their controller's


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the source tree."""
    return Path(__file__).resolve().parents[1]


TESTS = Path(__file__).parent
FIRST = (
    *("test_main_job.py", "extract/engines/test_ray.py", "probe/training/test_train.py"),
    *("cache/store/test_crashes.py", "extract/pipeline/test_kill.py", "docs/test_guides.py"),
    *("probe/sweeps/test_sweep.py", "probe/training/test_kill.py", "cache/store/test_faults.py"),
    *("extract/engines/test_ray_private.py", "probe/sweeps/test_ray.py"),
    *("probe/training/test_on_cuda.py", "extract/pipeline/test_extraction.py"),
    *("cache/store/test_damage.py", "apply/prediction/test_predict.py"),
)
"""The longest files, those of ten seconds and more: begun at the end, such a file keeps one worker
busy while the others have nothing left."""
LAST = ("apply/prediction/test_notebook.py", "test_bundled_clips.py")
"""They read the demo's store, which the first file makes: begun beside it, they wait for it."""
ORDER = {TESTS / name: place - len(FIRST) for place, name in enumerate(FIRST)}
ORDER |= {TESTS / name: 1 for name in LAST}
assert all(file.is_file() for file in ORDER), "a file named here has moved"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hand out the longest files first, so that all workers end at about one time."""
    items.sort(key=lambda item: ORDER.get(item.path, 0))


@pytest.fixture(autouse=True)
def subnormal_numbers() -> Iterator[None]:
    """Undo what training sets for its process: other tests compare subnormal numbers too."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    """Installs packages for the rest of a test."""
    installer = Installer(tmp_path, monkeypatch)
    yield installer
    monkeypatch.undo()
    installer.forget()


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
def ray() -> Iterator[Any]:
    """A real Ray cluster of this machine, two cores; starting one takes seconds."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    module: Any = import_module("ray")
    module.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        logging_level="error",
        log_to_driver=False,
    )
    yield module
    module.shutdown()


@pytest.fixture(scope="session")
def openclose_store(
    stepcli: Stepcli, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Path:
    """The demo's store: 384 bundled clips, 16 frames, 2 x 2 tokens. Never write to it."""
    from stepcli.examples.demo import EXTRACTION

    alone = worker_id == "master"
    base = tmp_path_factory.getbasetemp()
    shared = base if alone else base.parent  # of all workers: the store is made once
    store, made = shared / "openclose-store", shared / "openclose-store.made"
    with FileLock(shared / "openclose-store.lock"):
        if not made.exists():
            done = stepcli(*EXTRACTION.split(), "--store", store)
            assert done.returncode == 0, done.stderr
            made.touch()
    return store
