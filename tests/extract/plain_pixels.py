"""A plan for pixels that leaves their values as they were decoded."""

from stepcli.extract.decode.preprocess import PixelPlan


def plain_pixels(resize_short: int, crop_height: int, crop_width: int) -> PixelPlan:
    """Bilinear to that many pixels on the shorter side (0: as decoded), then the middle."""
    return PixelPlan(
        resize_short=resize_short,
        resize_height=0,
        resize_width=0,
        resample="bilinear",
        crop_height=crop_height,
        crop_width=crop_width,
        scale=1.0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
