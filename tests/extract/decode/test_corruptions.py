"""Corrupted views: ImageNet-C's constants, seeded per clip, on what the backbone sees."""

import colorsys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stepcli.cache.schema import views as names_of_views
from stepcli.cache.schema.views import CORRUPTIONS, corruption_of, split_view, training_views
from stepcli.extract.datasets.clip import Clip
from stepcli.extract.decode import corruptions
from stepcli.extract.decode.corruptions import block, corrupted
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.extract.decode.sampling import parse_sampling
from stepcli.extract.decode.views import ViewPlan, cut, parse_views, space_and_time, with_views
from stepcli.runtime.errors import UnknownName

WHOLE = PixelPlan(0, 64, 64, "bilinear", 0, 0, 1.0, (0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def image() -> np.ndarray:
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8))
    return np.asarray(smooth.resize((64, 64)))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_severity_is_further_from_the_frame(image: np.ndarray, kind: str) -> None:
    far = []
    for severity in range(1, 6):
        found = corrupted(image, kind, severity, "clip", 0)
        assert (found.shape, found.dtype) == (image.shape, np.uint8)
        assert np.array_equal(found, corrupted(image, kind, severity, "clip", 0))
        far.append(float(np.square(found.astype(float) - image).mean()))
    assert far == sorted(far)
    assert len(set(far)) == 5


def test_noise_has_the_deviation_of_imagenet_c_and_is_drawn_for_each_frame_and_clip() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    for severity, deviation in enumerate(corruptions.NOISE[:3], 1):
        found = corrupted(grey, "noise", severity, "a", 0) / 255
        assert found.std() == pytest.approx(deviation, rel=0.03)
        assert found.mean() == pytest.approx(0.5, abs=0.01)
    same = corrupted(grey, "noise", 1, "a", 0)
    for other in (
        corrupted(grey, "noise", 1, "b", 0),
        corrupted(grey, "noise", 1, "a", 1),
        corrupted(grey + 1, "noise", 1, "a", 0),
    ):
        assert np.corrcoef(same.ravel(), other.ravel())[0, 1] < 0.02


def test_brightness_is_added_to_the_value_of_hsv(image: np.ndarray) -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    for severity, more in enumerate((0.1, 0.2, 0.3, 0.4, 0.5), 1):
        found = corrupted(image, "brightness", severity, "c", 0)
        for row, column in ((0, 0), (20, 31), (63, 63)):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[row, column] / 255)
            wanted = colorsys.hsv_to_rgb(hue, saturation, min(1, value + more))
            assert np.abs(found[row, column] / 255 - wanted).max() < 1.5 / 255
        assert np.unique(corrupted(black, "brightness", severity, "c", 0)).tolist() == [
            int(more * 255)
        ]


def test_a_block_stays_at_its_place_and_grows(image: np.ndarray) -> None:
    covered = []
    for severity, share in enumerate((0.1, 0.2, 0.3, 0.4, 0.5), 1):
        found = corrupted(image, "occlusion", severity, "clip", 0)
        other = corrupted(255 - image, "occlusion", severity, "clip", 0)
        grey = (found == corruptions.GREY).all(axis=2)
        assert grey.mean() == pytest.approx(share, abs=0.02)
        assert np.array_equal(grey, (other == corruptions.GREY).all(axis=2))
        assert np.array_equal(found[~grey], image[~grey])
        covered.append(grey)
    assert all((small <= large).all() for small, large in pairwise(covered))
    places = {block(100, 100, 0.1, f"0/{clip}")[:2] for clip in range(20)}
    assert len(places) > 10


def test_views_are_parsed_cut_and_kept_apart(image: np.ndarray) -> None:
    assert len(parse_views("corrupted")) == 26
    assert parse_views("center,noise3") == ("center", "noise3")
    for wrong in ("noise6", "noise0", "noise", "flip-noise3", "noise3-left", "noise3-t1"):
        with pytest.raises(UnknownName):
            parse_views(wrong)
    assert corruption_of("noise3-t1") == ("noise", 3)
    assert corruption_of("flip-center") is None
    assert split_view("a@blur5") == ("a", "blur5")
    assert space_and_time("blur5-t2") == ("blur5", 2)
    plan = ViewPlan(("center", "noise3", "blur1"))
    center, noise, blur = cut(image, WHOLE, plan, plan.spaces, "c")
    assert np.array_equal(center, image)
    assert np.array_equal(noise, corrupted(image, "noise", 3, "c", 0))
    assert np.array_equal(blur, corrupted(image, "blur", 1, "c", 0))
    views = ["center", "noise3", "crop0", "reversed-center"]
    assert names_of_views.testing_views(views) == ["center"]
    assert training_views(views) == ["crop0"]
    assert training_views(["center", "noise3"]) == ["center"]
    (clip,) = with_views([Clip("c", Path("c.mp4"), "x")], plan, parse_sampling("uniform"))
    assert clip.stored_ids == ("c@center", "c@noise3", "c@blur1")
    facts = plan.to_spec()
    assert facts == {"views": "center,noise3,blur1", "crop_seed": 0}
    assert "crop_seed" not in ViewPlan(("center", "flip-center")).to_spec()
