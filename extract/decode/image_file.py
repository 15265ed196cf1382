"""One image of a folder of frames as upright RGB."""

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from stepcli.extract.datasets.images import KINDS
from stepcli.extract.datasets.walking import shown_name
from stepcli.extract.decode.orientation import RGB
from stepcli.runtime.errors import VideoError
from stepcli.runtime.extras import raise_failed_import

READERS = (BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)
"""Of `KINDS`. Without one of them Pillow would import those of all formats, with what they need."""
ORIENTATION = 0x0112
BITS_PER_SAMPLE = 258

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the image upright (EXIF 2.32, 4.6.4 A)."""


def read_image(path: Path) -> RGB:
    """An image as RGB, upright by its EXIF orientation; transparency is not looked at.

    Grey images of 9 to 16 bits keep their levels: the 8 highest bits of their range, value >> 8 for
    16 bits. Only JPEG, PNG, BMP, WebP and TIFF are opened, whatever the name says.

    Raises:
        VideoError: not such an image, damaged, or with too many pixels or undefined levels.
        UsageError: a package that the reader needs does not load.
    """
    name = shown_name(Path(path.name))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture: Image.Image = Image.open(path, formats=list(KINDS))
        with picture:
            picture.load()  # which turns TIFF, and takes the tag away
            turn = _UPRIGHT.get(_orientation(picture))
            image = _rgb(picture, name)
            if turn is not None:
                image = np.asarray(Image.fromarray(image).transpose(turn))
            return image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise VideoError(
            f"{name} has more than {Image.MAX_IMAGE_PIXELS:,} pixels: refused as a "
            "decompression bomb"
        ) from error
    except VideoError:
        raise
    except Exception as error:  # Pillow's readers raise anything on damaged bytes
        raise_failed_import(error)
        raise VideoError(f"damaged: {name} is no readable image") from error


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return 1  # broken tags are no reason to lose the image


def _rgb(picture: Image.Image, name: str) -> RGB:
    if picture.mode.startswith("I"):
        return np.repeat(_eight_bits(picture, name)[..., None], 3, axis=2)
    if picture.mode == "F":
        raise VideoError(
            f"{name} has floating-point pixels, whose range is not defined: convert to 8 or 16 bits"
        )
    # A palette with transparency is only fully defined by way of RGBA.
    mode = "RGBA" if picture.mode == "P" and "transparency" in picture.info else "RGB"
    return np.ascontiguousarray(np.asarray(picture.convert(mode))[..., :3])


def _eight_bits(picture: Image.Image, name: str) -> np.ndarray:
    """[height, width] uint8 of a grey image of more than 8 bits."""
    levels = np.asarray(picture)
    bits = 16
    if picture.format == "TIFF":
        tags: Any = picture
        bits = int(tags.tag_v2.get(BITS_PER_SAMPLE, (16,))[0])
    if bits > 16 or levels.min() < 0 or levels.max() >= 1 << bits:
        raise VideoError(
            f"{name} has grey levels of {bits if bits > 16 else 'more than 16'} bits, whose range "
            "is not defined: convert to 8 or 16 bits"
        )
    return (levels >> (bits - 8)).astype(np.uint8)
