"""A transformers image processor -> the PixelPlan that does the same, checked against it."""

from math import isfinite
from typing import Any

import numpy as np

from stepcli.extract.decode.preprocess import PixelPlan, Resample
from stepcli.runtime.errors import UsageError

TOLERANCE = 1e-4
"""Largest difference of a normalised value between the plan and the processor itself."""

LARGEST = 1 << 14
"""Pixels of a side that a processor may ask for."""

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
        UsageError: it lacks a setting, or has one that does not fit.
    """
    resizes, crops = _flag(processor, "do_resize"), _flag(processor, "do_center_crop")
    size = _sides(processor, "size") if resizes else {}
    crop = _sides(processor, "crop_size") if crops else {}
    if (crop_share := getattr(processor, "crop_pct", None)) and "shortest_edge" in size:
        # ConvNeXt's rule: below 384 resize to side / crop_pct and crop, from 384 on squash.
        side = size["shortest_edge"]
        crop = {"height": side, "width": side} if side < 384 else crop
        size = (
            {"shortest_edge": int(side / crop_share)}
            if side < 384
            else {"height": side, "width": side}
        )
    normalise, rescale = _flag(processor, "do_normalize"), _flag(processor, "do_rescale")
    return PixelPlan(
        resize_short=size.get("shortest_edge", 0),
        resize_height=size.get("height", 0),
        resize_width=size.get("width", 0),
        # Where nothing is resized the filter is not used.
        resample=_resample(processor) if resizes else "bilinear",
        crop_height=crop.get("height", 0),
        crop_width=crop.get("width", 0),
        scale=_number(processor, "rescale_factor") if rescale else 1.0,
        mean=_triple(processor, "image_mean") if normalise else (0.0, 0.0, 0.0),
        std=_triple(processor, "image_std") if normalise else (1.0, 1.0, 1.0),
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
    if not difference <= TOLERANCE:  # a difference that is no number is one too
        raise UsageError(
            f"the image processor {type(processor).__name__} does more than resize, crop and "
            f"normalise (values differ by {difference:.3g}); give another backbone"
        )


def normalise(image: np.ndarray, plan: PixelPlan) -> np.ndarray:
    """[height, width, 3] uint8 -> [3, height, width] float32, as the device does it."""
    scaled = image.astype(np.float32) * np.float32(plan.scale)
    values = (scaled - np.array(plan.mean, np.float32)) / np.array(plan.std, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _sides(processor: Any, name: str) -> dict[str, int]:
    size = getattr(processor, name, None)
    if isinstance(size, int) and not isinstance(size, bool):
        size = {"height": size, "width": size}
    sides = size if isinstance(size, dict) else vars(size) if hasattr(size, "__dict__") else {}
    kept = {side: value for side, value in sides.items() if value}
    whole = all(isinstance(value, int) and 0 < value <= LARGEST for value in kept.values())
    if not whole or kept.keys() not in ({"shortest_edge"}, {"height", "width"}):
        raise _wrong(
            processor, name, kept or None, "a shortest_edge, or a height and a width, in pixels"
        )
    return kept


def _resample(processor: Any) -> Resample:
    value: Any = getattr(processor, "resample", None)
    try:
        return _RESAMPLE[int(value)]
    except (TypeError, ValueError, KeyError):
        raise _wrong(processor, "resample", value, "a PIL filter, 0 to 5") from None


def _flag(processor: Any, name: str) -> bool:
    return bool(getattr(processor, name, False))


def _number(processor: Any, name: str) -> float:
    value = getattr(processor, name, None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _wrong(processor, name, value, "a number")
    return float(value)


def _triple(processor: Any, name: str) -> tuple[float, float, float]:
    values: Any = getattr(processor, name, None)
    if isinstance(values, int | float):
        values = (values,) * 3
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError):
        raise _wrong(processor, name, values, "3 numbers, for red, green and blue") from None
    if not all(map(isfinite, (red, green, blue))) or (
        name == "image_std" and not red * green * blue
    ):
        raise _wrong(processor, name, values, "3 finite numbers, of a deviation above 0")
    return red, green, blue


def _wrong(processor: Any, name: str, value: Any, expected: str) -> UsageError:
    kind = type(processor).__name__
    return UsageError(
        f"its image processor ({kind}) has {name}: {value!r}; expected {expected}; correct "
        "preprocessor_config.json"
    )
