"""The plan does to a frame what transformers' own processor does."""

from typing import Any

import numpy as np
import pytest
import transformers

from stepcli.extract.backbones.processor import TOLERANCE, normalise, plan_of, require_same_pixels
from stepcli.extract.decode.preprocess import PixelPlan
from stepcli.runtime.errors import UsageError

PROCESSORS: list[tuple[str, dict[str, Any]]] = [
    ("CLIP", {}),
    ("Bit", {"size": {"shortest_edge": 256}, "resample": 3}),
    ("ViT", {}),
    ("DeiT", {}),
    ("Siglip", {}),
    ("ConvNext", {"size": {"shortest_edge": 224}}),
    ("ConvNext", {"size": {"shortest_edge": 384}}),
    ("MobileNetV2", {}),
    ("VideoMAE", {}),
    # Crops larger than the image, with odd remainders.
    ("CLIP", {"size": {"shortest_edge": 101}, "crop_size": {"height": 224, "width": 125}}),
    ("CLIP", {"size": {"shortest_edge": 99}, "crop_size": {"height": 110, "width": 225}}),
    ("CLIP", {"do_resize": False, "do_rescale": False, "do_normalize": False}),
]


@pytest.mark.parametrize(("name", "settings"), PROCESSORS)
@pytest.mark.parametrize("size", [(240, 320), (427, 240), (64, 64), (225, 301), (101, 99)])
def test_pixels_are_those_of_the_processor(
    name: str, settings: dict[str, Any], size: tuple[int, int]
) -> None:
    processor = getattr(transformers, f"{name}ImageProcessorPil")(**settings)
    plan = plan_of(processor)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    theirs = np.asarray(processor(images=image, return_tensors="np")["pixel_values"])
    ours = normalise(plan.shape_pixels(image), plan)
    np.testing.assert_allclose(ours, theirs.reshape(ours.shape), atol=TOLERANCE)


def test_a_plan_survives_the_spec() -> None:
    plan = plan_of(transformers.CLIPImageProcessorPil())
    assert PixelPlan.from_spec(plan.to_spec()) == plan


def test_a_processor_that_does_something_else_is_refused() -> None:
    processor = transformers.ViTImageProcessorPil()

    class Inverting:
        def __getattr__(self, name: str) -> Any:
            return getattr(processor, name)

        def __call__(self, **inputs: Any) -> Any:
            done = processor(**inputs)
            done["pixel_values"] = -np.asarray(done["pixel_values"])
            return done

    with pytest.raises(UsageError, match="does more than resize, crop and normalise"):
        require_same_pixels(plan_of(processor), Inverting())


def test_images_of_varying_size_are_refused() -> None:
    processor = transformers.CLIPImageProcessorPil(do_center_crop=False)
    with pytest.raises(UsageError, match="varying size"):
        plan_of(processor)
