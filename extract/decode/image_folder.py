"""Clips that are folders of numbered images (Jester, IKEA ASM), read as if they were a video."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from stepcli.cache.errors import VideoError
from stepcli.extract.decode.orientation import RGB
from stepcli.extract.decode.segments import Segment
from stepcli.extract.decode.video import ReadClip

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


def read_image_folder(
    path: Path,
    frames_per_second: float,
    segment: Segment,
    pick: Callable[[int], Sequence[int]],
    convert: Callable[[RGB], RGB],
) -> ReadClip:
    """Read the picked images of a folder, in the order of their numbers.

    Args:
        path: the folder.
        frames_per_second: what the images were taken at; gives them times.
        segment: the part of it.
        pick: number of frames N -> T indices in [0, N), never decreasing.
        convert: applied to each picked image once.

    Raises:
        VideoError: no images, or one that cannot be read.
    """
    try:
        files = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES]
    except OSError as error:
        raise VideoError(f"cannot be read ({error.strerror})") from error
    if not files:
        raise VideoError("a folder without images")
    files.sort(key=lambda file: (len(file.stem), file.stem))  # 2.jpg is before 10.jpg
    seconds = [number / frames_per_second for number in range(len(files))]
    start, stop = segment.bounds(seconds)
    indices = [start + index for index in pick(stop - start)]
    wanted = sorted(set(indices))
    place = {index: position for position, index in enumerate(wanted)}
    images: list[RGB] = []
    size = (0, 0)
    for index in wanted:
        try:
            with Image.open(files[index]) as picture:
                image = np.asarray(picture.convert("RGB"))
        except (OSError, UnidentifiedImageError) as error:
            raise VideoError(f"damaged: {files[index].name} is no readable image") from error
        size = size if images else image.shape[:2]
        images.append(convert(image))
    return ReadClip(
        images,
        [place[index] for index in indices],
        [seconds[index] for index in indices],
        *size,
    )
