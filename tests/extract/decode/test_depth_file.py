"""Depth sequences in MATLAB files: one fixed range of grey, the same frames for every reader."""

from pathlib import Path

import numpy as np
import pytest
from plain_pixels import plain_pixels
from scipy.io import savemat

from stepcli.cache.schema.clips import Failure
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode.clip_bounds import ClipBounds
from stepcli.extract.decode.depth_file import (
    FAR_MM,
    FRAMES_PER_SECOND,
    NEAR_MM,
    depth_frames,
    grey,
    read_depth_file,
)
from stepcli.extract.decode.isolated import end_idle, video_frames, video_seconds
from stepcli.extract.decode.pool import DecodedClip, DecodePool
from stepcli.extract.decode.process import DecodeSettings
from stepcli.runtime.errors import VideoError


def written(path: Path, frames: int = 9, **options: bool) -> np.ndarray:
    """A sequence that comes 100 mm nearer with each frame, as MATLAB stores it; [h, w, frames]."""
    depth = np.zeros((24, 32, frames), np.uint16)
    depth[4:20, 8:24] = 3000 - 100 * np.arange(frames)
    savemat(path, {"d_depth": depth}, **options)
    return depth


def test_grey_has_one_fixed_range() -> None:
    depth = np.array([0, 1, NEAR_MM, (NEAR_MM + FAR_MM) / 2, FAR_MM, 60000, -5, np.nan, np.inf])
    assert grey(depth).tolist() == [0, 255, 255, 128, 1, 1, 0, 0, 0]
    # What else is in the frame changes nothing.
    assert grey(np.array([2000, 2001]))[0] == grey(np.array([2000, 800, 4000]))[0]
    assert grey(np.array([2000], np.uint16)) == grey(np.array([2000], np.float64))


@pytest.mark.parametrize("compressed", [False, True])
def test_frames_times_and_bounds(tmp_path: Path, compressed: bool) -> None:
    depth = written(tmp_path / "a.mat", do_compression=compressed)
    frames = depth_frames(tmp_path / "a.mat")
    assert frames.shape == (9, 24, 32)
    assert np.array_equal(frames, np.moveaxis(grey(depth), 2, 0))
    middle = frames[:, 12, 16].astype(int)
    assert (np.diff(middle) > 0).all()  # nearer is brighter
    clip = read_depth_file(
        tmp_path / "a.mat",
        ClipBounds(start_frame=2, end_frame=7),
        lambda n: [0, n - 1, n - 1],
        lambda image: image,
    )
    assert [int(image[12, 16, 0]) for image in clip.images] == [middle[2], middle[6]]
    assert clip.images[0].shape == (24, 32, 3)
    assert clip.positions == [0, 1, 1]
    assert clip.pts_seconds == [2 / FRAMES_PER_SECOND, 6 / 30, 6 / 30]
    assert (clip.frame_height, clip.frame_width) == (24, 32)


def test_one_frame_keeps_its_dimension(tmp_path: Path) -> None:
    written(tmp_path / "a.mat", frames=1)
    assert depth_frames(tmp_path / "a.mat").shape == (1, 24, 32)


def test_extraction_and_prediction_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a1_s1_t1_depth.MAT"
    written(path)
    settings = DecodeSettings(plain_pixels(0, 24, 32), "uniform", 3)
    with DecodePool(settings, workers=1, slots=2, clip_seconds=60) as pool:
        (decoded,) = pool.decode([Clip("a", path, "wave")])
        assert isinstance(decoded, DecodedClip), decoded
        extracted = decoded.images[:, 0].copy()
        times = decoded.read.pts_seconds
        decoded.release()
    seconds = video_seconds(path)
    assert len(seconds) == 9
    wanted = [round(time * FRAMES_PER_SECOND) for time in times]
    shown = np.concatenate([pictures for _, pictures in video_frames(path, wanted)])
    end_idle()
    assert np.array_equal(shown, extracted)


def test_what_is_no_depth_sequence_is_quarantined_with_the_reason(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mat"
    written(whole, do_compression=True)
    (tmp_path / "text.mat").write_text("no MATLAB file")
    (tmp_path / "empty.mat").touch()
    (tmp_path / "cut.mat").write_bytes(whole.read_bytes()[:-40])
    # The first bytes of a file that MATLAB 7.3 writes: the version is 0x0200.
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "v73.mat").write_bytes(head.ljust(600, b"\0"))
    savemat(tmp_path / "other.mat", {"d_iner": np.zeros((4, 6)), "d_skel": np.zeros((20, 3, 4))})
    savemat(tmp_path / "cells.mat", {"d_depth": np.array(["a", 1, "b"], object)})
    savemat(tmp_path / "complex.mat", {"d_depth": np.ones((2, 2, 2)) * 1j})
    savemat(tmp_path / "flat.mat", {"d_depth": np.zeros((2, 2, 2, 2))})
    savemat(tmp_path / "none.mat", {"d_depth": np.zeros((0, 0))})
    reasons = {
        "text": "damaged: no readable MATLAB file",
        "empty": "the file is empty",
        "cut": "damaged: no readable MATLAB file",
        "v73": "a file of MATLAB 7.3",
        "other": r"holds no variable d_depth \(only d_iner, d_skel\)",
        "cells": "d_depth is object",
        "complex": "d_depth is complex128",
        "flat": r"of shape \[2, 2, 2, 2\]",
        "none": r"of shape \[0, 0, 1\]",
        "gone": "cannot be read",
    }
    for name, reason in reasons.items():
        with pytest.raises(VideoError, match=reason):
            depth_frames(tmp_path / f"{name}.mat")
    settings = DecodeSettings(plain_pixels(0, 24, 32), "uniform", 3)
    clips = [Clip(name, tmp_path / f"{name}.mat", "wave") for name in reasons]
    with DecodePool(settings, workers=1, slots=2, clip_seconds=60) as pool:
        found = list(pool.decode(clips))
    assert {type(each) for each in found} == {Failure}
    assert len(found) == len(reasons)
