"""A folder that has what the guides tell their reader to have, in small."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_roots import (
    EACH,
    copy,
    write_backbone,
    write_driveact,
    write_hmdb51,
    write_ikea_asm,
    write_ssv2,
    write_ucf101,
)

sys.path.insert(0, str(Path(__file__).parent))  # the guides' test uses the commands' test


@pytest.fixture(scope="module")
def belongings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos in folders, three data sets in their official layouts, and a tiny backbone."""
    place = tmp_path_factory.mktemp("guides")
    for number in range(EACH):
        for label in ("open", "close"):
            copy(f"door-{label}", number, place / f"videos/{label}/{number:03}.mp4")
    copy("door-open", EACH, place / "new.mp4")
    write_ssv2(place / "data/ssv2")
    write_driveact(place / "data/driveact")
    write_ikea_asm(place / "data/ikea_asm")
    write_ucf101(place / "data/ucf101")
    write_hmdb51(place / "data/hmdb51")
    write_backbone(place / "models/tiny")
    return place


@pytest.fixture
def workplace(belongings: Path, tmp_path: Path) -> Iterator[Path]:
    """The working directory of one guide: all of the above, and no store yet."""
    for each in belongings.iterdir():
        (tmp_path / each.name).symlink_to(each)
    before = signal.getsignal(signal.SIGTERM), Path.cwd(), dict(os.environ)
    os.chdir(tmp_path)
    yield tmp_path
    signal.signal(signal.SIGTERM, before[0])
    os.chdir(before[1])
    os.environ.clear()
    os.environ.update(before[2])
