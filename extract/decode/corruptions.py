"""What is done to the pixels of corrupted views: noise, blur, brightness, JPEG, a block in front.

The first four are ImageNet-C's Gaussian noise, Gaussian blur, brightness and JPEG compression with
its constants of severity 1 to 5 for frames of 224 pixels (Hendrycks & Dietterich, arXiv 1903.12261;
hendrycks/robustness), on what the backbone sees: after resizing and crop. Ours: blur grows with the
height of the frame; noise is drawn for each frame from its pixels, so that a repeated frame
keeps its noise; `occlusion` is one grey square of 10 to 50 % of the area, at one place per clip, as
an object between camera and scene would be.
"""

import hashlib
import io

import numpy as np
from PIL import Image, ImageFilter

from stepcli.cache.schema.views import CORRUPTIONS
from stepcli.extract.decode.orientation import RGB

NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Standard deviation, of pixels in [0, 1]."""
BLUR = (1.0, 2.0, 3.0, 4.0, 6.0)
"""Standard deviation in pixels of a frame of 224."""
BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Added to the value of HSV, in [0, 1]."""
JPEG = (25, 18, 15, 10, 7)
"""Quality."""
OCCLUSION = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Share of the area."""
SIDE = 224
GREY = 128


def corrupted(image: RGB, kind: str, severity: int, clip_id: str, seed: int) -> RGB:
    """One frame as the backbone would see it, corrupted.

    Args:
        image: [height, width, 3] uint8.
        kind: one of CORRUPTIONS.
        severity: 1 to 5.
        clip_id: with `seed`, the place of the block: the same for all frames of a clip.
        seed: of what is drawn.
    """
    level = severity - 1
    if kind == "noise":
        digest = hashlib.sha256(f"{seed}/{clip_id}/{kind}{severity}/".encode())
        digest.update(image.tobytes())
        noise = _generator(digest.digest()).normal(scale=NOISE[level], size=image.shape)
        return _pixels(image / 255 + noise)
    if kind == "blur":
        radius = BLUR[level] * image.shape[0] / SIDE
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
    if kind == "brightness":
        return _brighter(image, BRIGHTNESS[level])
    if kind == "jpeg":
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=JPEG[level])
        return np.asarray(Image.open(file).convert("RGB"))
    if kind == "occlusion":
        top, left, rows, columns = block(
            image.shape[0], image.shape[1], OCCLUSION[level], f"{seed}/{clip_id}"
        )
        found = image.copy()
        found[top : top + rows, left : left + columns] = GREY
        return found
    raise ValueError(f"{kind}: expected one of {', '.join(CORRUPTIONS)}")


def block(height: int, width: int, share: float, seed: str) -> tuple[int, int, int, int]:
    """Top, left, height and width of a block with a share of the area and the frame's own shape.

    Blocks of one seed grow from one point: those of a higher severity hold those of a lower one.
    """
    x, y = _generator(hashlib.sha256(seed.encode()).digest()).random(2)
    rows, columns = round(height * share**0.5), round(width * share**0.5)
    return round(y * (height - rows)), round(x * (width - columns)), rows, columns


def _brighter(image: RGB, more: float) -> RGB:
    """Value of HSV plus `more`, at most 1; hue and saturation stay: the channels of a pixel grow by
    one factor. Black, which has no hue, becomes grey."""
    scaled = image / 255
    value = scaled.max(axis=2, keepdims=True)
    wanted = np.minimum(value + more, 1)
    ratio = np.divide(scaled, value, out=np.ones_like(scaled), where=value > 0)
    return _pixels(ratio * wanted)


def _pixels(values: np.ndarray) -> RGB:
    found: RGB = (np.clip(values, 0, 1) * 255).astype(np.uint8)
    return found


def _generator(digest: bytes) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
