"""A small store of real videos and trained probes, which tests of predictions share."""

from pathlib import Path

import pytest
from command_line import call

CLIPS = Path(__file__).parents[3] / "examples" / "openclose" / "clips"


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of ten clips, and two probes that were trained and tested on it."""
    folder = tmp_path_factory.mktemp("predict")
    rows = ["id,path,label,split,group"]
    for label in ("handle-press", "handle-pull"):
        for number in range(5):
            split = "test" if number == 4 else "train"
            path = CLIPS / label / f"{number:03d}.mp4"
            rows.append(f"{label}-{number},{path},{label},{split},{number}")
    (folder / "clips.csv").write_text("\n".join(rows))
    call(
        *("extract", "--dataset", "csv", "--root", folder / "clips.csv", "--frames", 4),
        *("--backbone", "mobilenet_v2-bundled", "--tokens", "grid1", "--store", folder / "store"),
    )
    common = ("--store", folder / "store", "--runs", folder / "runs", "--epochs", 3)
    call("probe", "--method", "linear,step,duration", *common)
    return folder


@pytest.fixture(scope="session")
def runs(work: Path) -> dict[str, Path]:
    """Folders of the runs by method."""
    return {path.name.partition("-")[0]: path for path in (work / "runs").glob("[!.]*-*")}
