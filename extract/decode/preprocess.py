"""From a decoded frame to what the backbone takes, as its own image processor would do it.

Resizing and cropping run on uint8 images in the decoders (PIL, as transformers' PIL processors
do); rescaling and normalising run as floats on the device. This module is imported by decoder
processes, so torch and transformers stay out of it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from PIL import Image

from stepcli.extract.decode.orientation import RGB
from stepcli.runtime.errors import UsageError

Path = Literal["exact", "fast"]
Resample = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]


@dataclass(frozen=True, slots=True)
class PixelPlan:
    """Steps applied to a frame, in the order of the fields. Sizes in pixels (0 = no such step)."""

    resize_short: int
    """Shorter side after resizing with the aspect ratio kept."""
    resize_height: int
    """Height after resizing without regard to the aspect ratio, and"""
    resize_width: int
    resample: Resample
    crop_height: int
    """Height of the centre crop; smaller images are padded with black."""
    crop_width: int
    scale: float
    """Factor on the 0 to 255 values; 1/255 is usual."""
    mean: tuple[float, float, float]
    """Subtracted from the scaled values, red, green, blue; then divided by"""
    std: tuple[float, float, float]
    path: Path = "exact"
    """"exact": as the processor does it; "fast": frames of more than twice the size wanted are
    shrunk to that as they leave the decoder (`video.shrunk`), the rest is exact."""

    def __post_init__(self) -> None:
        if not (self.crop_height and self.crop_width) and not (
            self.resize_height and self.resize_width
        ):
            raise UsageError(
                "the image processor gives images of varying size; expected a fixed size by "
                "height and width, or by a centre crop"
            )

    @property
    def height(self) -> int:
        """Rows of the image that comes out."""
        return self.crop_height or self.resize_height

    @property
    def width(self) -> int:
        """Columns of the image that comes out."""
        return self.crop_width or self.resize_width

    def to_spec(self) -> dict[str, bool | int | float | str | list[float] | list[int]]:
        """The plan for `StoreSpec.preprocessing`: flat, JSON-able, complete."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_spec(cls, values: Mapping[str, Any]) -> "PixelPlan":
        """The plan that `to_spec` described; other entries (views) are ignored."""
        arguments: dict[str, Any] = {
            field.name: tuple(value) if isinstance(value := values[field.name], list) else value
            for field in fields(cls)
            if field.name in values
        }
        return cls(**arguments)

    def shape_pixels(self, image: RGB) -> RGB:
        """Resize and crop one image.

        Args:
            image: [any height, any width, 3] uint8.

        Returns:
            [height, width, 3] uint8.
        """
        return self.crop(self.resize(image))

    def resize(self, image: RGB) -> RGB:
        """The first half of `shape_pixels`; sides may still differ from image to image."""
        height, width = image.shape[:2]
        new_height, new_width = self.resized(height, width)
        if (new_height, new_width) == (height, width):
            return image
        picture = Image.fromarray(image).resize(
            (new_width, new_height), Image.Resampling[self.resample.upper()]
        )
        return np.asarray(picture)

    def crop(self, image: RGB, place: float | None = None) -> RGB:
        """The second half of `shape_pixels`.

        Args:
            image: resized.
            place: None: the centre; else where along the longer side the crop lies, 0 to 1.
        """
        rows, columns = image.shape[:2]
        if place is not None and rows >= self.height and columns >= self.width:
            top, left = (rows - self.height) // 2, (columns - self.width) // 2
            if columns >= rows:
                left = round(place * (columns - self.width))
            else:
                top = round(place * (rows - self.height))
            return image[top : top + self.height, left : left + self.width]
        return _centre_crop(image, self.height, self.width)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing, before the crop."""
        if self.resize_short:
            short = self.resize_short
            # The longer side is cut off, not rounded: as transformers and torchvision do it.
            if width <= height:
                return int(short * height / width), short
            return short, int(short * width / height)
        if self.resize_height:
            return self.resize_height, self.resize_width
        return height, width


def _centre_crop(image: RGB, height: int, width: int) -> RGB:
    """Crop, or pad with black where the image is smaller, with transformers' rounding."""
    rows, columns = image.shape[:2]
    if rows < height or columns < width:
        padded = np.zeros((max(rows, height), max(columns, width), 3), np.uint8)
        # Rounded up, so that an odd remainder goes above and to the left.
        top, left = -(-(padded.shape[0] - rows) // 2), -(-(padded.shape[1] - columns) // 2)
        padded[top : top + rows, left : left + columns] = image
        # The crop starts where it would have started in the small image, shifted by the padding.
        top, left = top + (rows - height) // 2, left + (columns - width) // 2
        top, left = max(0, top), max(0, left)
        return padded[top : top + height, left : left + width]
    top, left = (rows - height) // 2, (columns - width) // 2
    return image[top : top + height, left : left + width]
