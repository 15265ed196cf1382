"""A package that does not load in decoder processes ends the run with its name.

The clips are not to blame: none is quarantined.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from stepcli.cache import open_store
from stepcli.cache.store.locate import is_store
from stepcli.extract.decode.isolated import end_idle, recording_length
from stepcli.extract.decode.process import DecodersFailed
from stepcli.extract.pipeline import prepare

Extract = Callable[..., int]
BROKEN = 'raise OSError("libfoo.so.5: cannot open shared object file")'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages of processes that are started later, before those that are installed."""
    place = tmp_path / "site"
    place.mkdir()
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{path}" if path else str(place))
    end_idle()
    return place


@pytest.fixture
def inputs(tmp_path: Path, write_numbered: Callable[..., Path]) -> Path:
    """A video, a depth sequence, and a folder of images of each kind; one list of each."""
    write_numbered(tmp_path / "video.mp4", 8)
    savemat(tmp_path / "depth.mat", {"d_depth": np.full((24, 32, 6), 900, np.uint16)})
    names = {"video": "video.mp4", "depth": "depth.mat"}
    for ending in ("png", "jpg", "bmp", "webp", "tif"):
        names[ending] = ending
        (tmp_path / ending).mkdir()
        for number in range(4):
            Image.new("RGB", (32, 24), (40 * number,) * 3).save(
                tmp_path / ending / f"{number}.{ending}"
            )
    for kind, name in names.items():
        rate = "" if "." in name else "5"
        (tmp_path / f"{kind}.csv").write_text(
            f"path,label,frames_per_second\n{name},x,{rate}\n",
        )
    return tmp_path


def loads_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main process finds a torchcodec that its decoders do not."""
    monkeypatch.setattr(prepare, "load_torchcodec", lambda: None)
    installed = prepare.version
    monkeypatch.setattr(
        prepare, "version", lambda name: "1.0" if name == "torchcodec" else installed(name)
    )


def no_clip_is_blamed(store: Path) -> None:
    assert not is_store(store) or not open_store(store).quarantined()


@pytest.mark.parametrize("windows", [None, "4@5fps"])
@pytest.mark.parametrize(
    ("package", "kind", "said"),
    [
        ("av", "video", "av does not load (OSError: libfoo.so.5: cannot open shared object file)"),
        ("scipy", "depth", "reading MATLAB files needs scipy, and the installed one does not load"),
    ],
)
def test_it_is_named_and_no_clip_is_quarantined(
    inputs: Path,
    site: Path,
    extract: Extract,
    package: str,
    kind: str,
    said: str,
    windows: str | None,
) -> None:
    (site / f"{package}.py").write_text(BROKEN)
    with pytest.raises(DecodersFailed) as caught:
        extract(root=inputs / f"{kind}.csv", windows=windows)
    assert str(caught.value).startswith(said)
    no_clip_is_blamed(inputs / "store")
    (site / f"{package}.py").unlink()
    assert extract(root=inputs / f"{kind}.csv", windows=windows) == 0


def test_a_package_that_is_missing_there_is_named(inputs: Path, site: Path) -> None:
    (site / "av").mkdir()  # a namespace package in front, as after a broken installation
    (site / "av" / "__init__.py").write_text("from av.no_such_part import something")
    with pytest.raises(DecodersFailed, match=r"^av does not load \(ModuleNotFoundError: No module"):
        recording_length(inputs / "video.mp4")


def test_readers_of_other_formats_do_not_matter_to_images(
    inputs: Path, site: Path, extract: Extract
) -> None:
    """Pillow has a reader that imports olefile, if it is installed."""
    (site / "olefile.py").write_text(BROKEN)
    for kind in ("png", "jpg", "bmp", "webp", "tif"):
        assert extract(root=inputs / f"{kind}.csv", store=inputs / f"of-{kind}") == 0


def test_torchcodec_that_does_not_load_in_decoders(
    inputs: Path, site: Path, extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "torchcodec.py").write_text(BROKEN)
    loads_here(monkeypatch)
    with pytest.raises(DecodersFailed, match=r"^--decoder torchcodec: it cannot be loaded here"):
        extract(root=inputs / "video.csv", decoder="torchcodec")
    no_clip_is_blamed(inputs / "store")


LAZY = """
class VideoDecoder:
    def __init__(self, *words, **options):
        import part_of_torchcodec
"""


def test_a_part_that_torchcodec_loads_late(
    inputs: Path, site: Path, extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With RuntimeError, which otherwise says that a video is damaged."""
    package = site / "torchcodec"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "decoders.py").write_text(LAZY)
    (site / "part_of_torchcodec.py").write_text('raise RuntimeError("operator x does not exist")')
    loads_here(monkeypatch)
    with pytest.raises(DecodersFailed, match=r"^part_of_torchcodec does not load \(RuntimeError"):
        extract(root=inputs / "video.csv", decoder="torchcodec")
    no_clip_is_blamed(inputs / "store")
