"""Videos that the tests of sources share."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, write_numbered: Any) -> list[Path]:
    """Six tiny videos of different frames."""
    folder = tmp_path_factory.mktemp("videos")
    return [write_numbered(folder / f"{i}.mp4", 4, first=100 * i) for i in range(6)]
