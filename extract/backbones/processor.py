"""A transformers image processor -> the PixelPlan that does the same, checked against it."""

from typing import Any

import numpy as np

from stepcli.cache.errors import UsageError
from stepcli.extract.decode.preprocess import PixelPlan, Resample

TOLERANCE = 1e-4
"""Largest difference of a normalised value between the plan and the processor itself."""

_RESAMPLE: dict[int, Resample] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}


def plan_of(processor: Any) -> PixelPlan:
    """Read the plan off a processor's attributes.

    Raises:
        UsageError: it gives images of varying size.
    """
    size = _sides(processor.size) if processor.do_resize else {}
    crop = _sides(processor.crop_size) if _flag(processor, "do_center_crop") else {}
    if (crop_share := getattr(processor, "crop_pct", None)) and "shortest_edge" in size:
        # ConvNeXt's rule: below 384 resize to side / crop_pct and crop, from 384 on squash.
        side = size["shortest_edge"]
        crop = {"height": side, "width": side} if side < 384 else crop
        size = (
            {"shortest_edge": int(side / crop_share)}
            if side < 384
            else {"height": side, "width": side}
        )
    normalise = processor.do_normalize
    return PixelPlan(
        resize_short=size.get("shortest_edge", 0),
        resize_height=size.get("height", 0),
        resize_width=size.get("width", 0),
        resample=_RESAMPLE[int(processor.resample)],
        crop_height=crop.get("height", 0),
        crop_width=crop.get("width", 0),
        scale=float(processor.rescale_factor) if processor.do_rescale else 1.0,
        mean=_triple(processor.image_mean) if normalise else (0.0, 0.0, 0.0),
        std=_triple(processor.image_std) if normalise else (1.0, 1.0, 1.0),
    )


def require_same_pixels(plan: PixelPlan, processor: Any) -> None:
    """Run both on one noisy image: a processor that does anything else is refused.

    Raises:
        UsageError: naming the largest difference.
    """
    image = np.random.default_rng(0).integers(0, 256, (301, 403, 3), np.uint8)
    theirs = np.asarray(processor(images=image, return_tensors="np")["pixel_values"]).squeeze()
    ours = normalise(plan.shape_pixels(image), plan)
    if theirs.shape != ours.shape:
        raise UsageError(
            f"the image processor {type(processor).__name__} makes {theirs.shape} pixels where "
            f"{ours.shape} were expected; give another backbone"
        )
    difference = float(np.abs(theirs - ours).max())
    if difference > TOLERANCE:
        raise UsageError(
            f"the image processor {type(processor).__name__} does more than resize, crop and "
            f"normalise (values differ by {difference:.3g}); give another backbone"
        )


def normalise(image: np.ndarray, plan: PixelPlan) -> np.ndarray:
    """[height, width, 3] uint8 -> [3, height, width] float32, as the device does it."""
    scaled = image.astype(np.float32) * np.float32(plan.scale)
    values = (scaled - np.array(plan.mean, np.float32)) / np.array(plan.std, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _sides(size: Any) -> dict[str, int]:
    if isinstance(size, int):
        return {"height": size, "width": size}
    sides = size if isinstance(size, dict) else vars(size)
    return {name: int(value) for name, value in sides.items() if value}


def _flag(processor: Any, name: str) -> bool:
    return bool(getattr(processor, name, False))


def _triple(values: Any) -> tuple[float, float, float]:
    if isinstance(values, int | float):
        return (float(values),) * 3
    red, green, blue = values
    return float(red), float(green), float(blue)
