"""UTD-MHAD on a root of true files: the official names, .avi by a codec, .mat as MATLAB writes."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official_roots import load, partners, splits, write
from scipy.io import savemat

from stepcli.cache import open_store
from stepcli.extract.config import ExtractConfig
from stepcli.extract.datasets import utd_mhad
from stepcli.extract.pipeline.clip_list import load_list
from stepcli.runtime.errors import UnknownName, UsageError


@pytest.fixture
def root(tmp_path: Path, write_video: Callable[..., Path]) -> Path:
    """Four people standing up (a24) and sitting down (a25), and files of the other sensors."""
    rgb, depth = tmp_path / "RGB-part1", tmp_path / "Depth"
    for folder in (rgb, depth, tmp_path / "Inertial"):
        folder.mkdir()
    for action in (24, 25):
        for subject in (1, 2, 3, 8):
            name = f"a{action}_s{subject}_t1"
            levels = np.linspace(60, 200, 6) if action == 24 else np.linspace(200, 60, 6)
            images = [np.full((48, 64, 3), level, np.uint8) for level in levels]
            write_video(rgb / f"{name}_color.avi", images, codec="mpeg4", rate=15)
            far = np.stack([np.full((24, 32), 3800 - 10 * level) for level in levels], axis=2)
            savemat(depth / f"{name}_depth.mat", {"d_depth": far.astype(np.uint16)})
            savemat(tmp_path / "Inertial" / f"{name}_inertial.mat", {"d_iner": np.zeros((9, 6))})
    return tmp_path


def test_names_give_class_split_and_group(root: Path) -> None:
    for modality, ending in (("rgb", "_color.avi"), ("depth", "_depth.mat")):
        dataset = load("utd_mhad", root, modality=modality)
        assert splits(dataset) == {
            f"a{action}_s{subject}_t1": "train" if subject in (1, 3) else "test"
            for action in (24, 25)
            for subject in (1, 2, 3, 8)
        }
        assert {clip.path.name for clip in dataset.clips} == {
            f"{clip.id}{ending}" for clip in dataset.clips
        }
        assert {clip.group for clip in dataset.clips} == {"s1", "s2", "s3", "s8"}
        assert {clip.id: clip.label for clip in dataset.clips}["a25_s8_t1"] == "stand_to_sit"
        assert dataset.notes == ("8 of the 861 sequences of the release are here",)
    assert load("utd_mhad", root) == load("utd_mhad", root, modality="rgb")


def test_classes_are_in_the_order_of_their_numbers(root: Path) -> None:
    classes = load("utd_mhad", root).classes
    assert len(classes) == 27
    assert [classes[i].name for i in (0, 8, 9, 23, 26)] == [
        *("swipe_left", "draw_circle_cw", "draw_circle_ccw", "sit_to_stand", "squat"),
    ]
    assert all(row.prompt for row in classes)
    assert len(partners(classes)) == 2 * len(utd_mhad.PAIRS) == 6
    assert partners(classes)["sit_to_stand"] == "stand_to_sit"
    # A flip shows the other arm: which class that is, the release does not say.
    assert not any(row.mirror for row in classes)


def test_the_opposites_alone(root: Path) -> None:
    (root / "a3_s1_t1_color.avi").touch()
    assert len(load("utd_mhad", root).clips) == 9
    dataset = load("utd_mhad", root, classes="opposites")
    assert len(dataset.clips) == 8
    assert [row.name for row in dataset.classes] == [
        *("swipe_left", "swipe_right", "draw_circle_cw", "draw_circle_ccw"),
        *("sit_to_stand", "stand_to_sit"),
    ]
    assert all(row.partner for row in dataset.classes)
    assert dataset.notes == ("9 of the 861 sequences of the release are here",)


def test_what_is_no_sequence_is_counted(root: Path) -> None:
    write(
        root, {"Depth/a28_s1_t1_depth.mat": "", "Depth/a1_s9_t1_depth.mat": "", "x_color.avi": ""}
    )
    assert "2 files are named like no sequence" in load("utd_mhad", root, modality="depth").notes[0]
    assert len(load("utd_mhad", root, modality="depth").clips) == 8
    (root / "RGB-part1/a24_s1_t1_color.avi").rename(root / "a24_s1_t1_color.mp4")
    assert any("taken under another ending" in note for note in load("utd_mhad", root).notes)
    with pytest.raises(UsageError, match="expected one of rgb, depth"):
        load("utd_mhad", root, modality="skeleton")
    with pytest.raises(UnknownName):
        load("utd_mhad", root, modalty="depth")


def test_depth_without_its_extra_is_refused_before_any_work(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)  # as if it were not installed
    config = ExtractConfig(dataset="utd_mhad", root=root, options={"modality": "depth"})
    with pytest.raises(
        UsageError, match=r"MATLAB files needs scipy: pip install 'stepcli\[depth\]'"
    ):
        load_list(config)
    assert len(load_list(ExtractConfig(dataset="utd_mhad", root=root)).clips) == 8


@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_a_release_is_extracted(
    modality: str, root: Path, extract: Callable[..., int], tmp_path: Path
) -> None:
    place = tmp_path / f"store-{modality}"
    assert extract(dataset="utd_mhad", root=root, options={"modality": modality}, store=place) == 0
    store = open_store(place)
    assert len(store.ids) == 8
    assert {row.name for row in store.classes()} == set(utd_mhad.ACTIONS)
    assert store.record("a24_s1_t1").frame_height == (48 if modality == "rgb" else 24)
    # The pictures of sitting down are those of standing up, backward.
    up, down = store.read(["a24_s1_t1", "a25_s1_t1"]).astype(np.float32)
    assert np.abs(up - down[::-1]).mean() < 0.2 * np.abs(up - down).mean()
