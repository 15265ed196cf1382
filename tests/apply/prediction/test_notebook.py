"""The page for notebooks is run as shipped."""

import runpy
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch._dynamo  # noqa: F401 (it is not to be imported on the virtual device)

sys.path.insert(0, str(Path(__file__).parents[2]))  # for virtual_device.py

from virtual_device import virtual_cuda


@pytest.mark.parametrize("machine", [nullcontext, virtual_cuda])
def test_the_notebook_runs(
    machine: Callable[[], AbstractContextManager[object]],
    openclose_store: Path,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = project / "examples" / "openclose" / "clips" / "handle-pull" / "004.mp4"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["notebook.py", str(openclose_store), str(video)])
    with machine():
        left = runpy.run_path(str(project / "docs" / "notebook.py"))
    said = capsys.readouterr().out
    assert "384 clips of openclose" in said
    assert "linear: forced choice 50.0 %" in said
    assert len(left["answer"]["windows"][0]["top"]) == 3
    assert left["over_frames"].shape == (8,)
