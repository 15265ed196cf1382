"""`extract` for notebooks: with the same settings as the command."""

from pathlib import Path

import pytest

from stepcli.apply.prediction.api import extract
from stepcli.runtime.errors import SpecMismatch, UnknownName, UsageError

MODEL = """
from torch import nn
from stepcli.extract.backbones.custom_backbone import ImageModel
def build():
    return ImageModel(nn.Conv2d(3, 8, kernel_size=16, stride=16), size=32)
"""


@pytest.fixture
def place(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    clips = project / "examples" / "openclose" / "clips"
    rows = [
        f"{label}-{number},{clips / label / f'{number:03d}.mp4'},{label},train"
        for label in ("door-open", "door-close")
        for number in range(2)
    ]
    (tmp_path / "clips.csv").write_text("\n".join(("id,path,label,split", *rows)))
    return tmp_path


def test_extract_gives_a_store_and_resumes(place: Path) -> None:
    settings = {"backbone": "model.py:build", "tokens": "grid2", "device": "cpu", "store": "s"}
    store = extract("csv", "clips.csv", frames=2, limit=2, **settings)
    assert store.ids == ["door-close-0", "door-open-0"]
    store = extract("csv", place / "clips.csv", frames=2, **settings)
    assert len(store) == 4
    assert store.spec.clip_shape == (2, 4, 8)
    with pytest.raises(SpecMismatch, match="frames: store 2, asked 3"):
        extract("csv", "clips.csv", frames=3, **settings)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"frmaes": 2}, UnknownName, "unknown setting of extract 'frmaes'; did you mean frames"),
        ({"frames": 0}, UsageError, "--frames 0: expected a value greater than or equal to 1"),
        ({"devices": "0,1"}, UsageError, "devices is for the command line"),
        ({"options": {"no": "1"}}, UnknownName, "option of the data set csv 'no'"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(
    settings: dict[str, object], error: type[UsageError], said: str, place: Path
) -> None:
    with pytest.raises(error, match=said):
        extract("csv", "clips.csv", **settings)
