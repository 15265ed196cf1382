"""A store of many parts, made once."""

import shutil
from pathlib import Path

import pytest
from sample_clips import MANY_CLIPS, fill_store


@pytest.fixture(scope="session")
def many_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 parts of 2 clips, with the consolidated index and records of them; not to be changed."""
    root = tmp_path_factory.mktemp("many") / "store"
    fill_store(root, "hdf5", MANY_CLIPS, part_clips=2)
    return root


@pytest.fixture
def root(many_parts: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(many_parts, tmp_path / "store")
    return tmp_path / "store"
